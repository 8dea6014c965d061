"""Quantized operators of two or more operands (docs/specification/ops.md sections 3 and 4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import jax.numpy as jnp

from linger_jax.interpret import integers
from linger_jax.interpret.apply_quantizer import accept_operand, run_quantizer, straight_through
from linger_jax.interpret.context import Array, Context, Mode, Value, plain
from linger_jax.interpret.interpreter import interprets, single
from linger_jax.interpret.run_layer import run_contraction
from linger_jax.kinds import ADD, CAT, MATMUL, MUL, Kind
from linger_jax.numerics import EXACT_BITS, round_scaled
from linger_jax.plan import Node
from linger_jax.quantizers import QTensor
from linger_jax.typing import Path


@interprets(MUL, MATMUL, CAT)
def operator(ctx: Context, node: Node, operands: Sequence[Value]) -> list[Value]:
    """mul, matmul, concatenate, stack: the float operation on quantized operands, then the output quantizer."""
    path = node.quantizer_path("output_quantizer")
    in_integers = _IN_INTEGERS.get(node.kind) if ctx.in_integers else None
    if in_integers is not None:
        x, y = (accept_operand(ctx, node, i, x) for i, x in enumerate(operands))
        return [in_integers(ctx, node, path, x, y, lambda: single(node.run, x.value, y.value))]
    # An operand without elements (of a concatenation) has no statistic and takes no part.
    taken = [x if plain(x).size == 0 else accept_operand(ctx, node, i, x) for i, x in enumerate(operands)]
    bits = [x.bits for x in taken if isinstance(x, QTensor)]
    run = partial(run_contraction, node.run, bits=bits) if node.kind == MATMUL else node.run
    result = run_quantizer(ctx, path, single(run, *(plain(x) for x in taken)))
    if node.kind == CAT and ctx.in_integers and max(bits) >= EXACT_BITS:
        # A whole number that a quantizer brings to its own grid once more may lose its last bit.
        parts = [integers.regridded(ctx, path, x) if isinstance(x, QTensor) else x for x in taken]
        result = QTensor(straight_through(single(run, *parts), result.value), result.scale, result.bits)
    return [result]


Smooth = Callable[[], Array]


def _multiply(ctx: Context, node: Node, path: Path, x: QTensor, y: QTensor, smooth: Smooth) -> QTensor:
    del node
    return integers.multiply(ctx, path, x, y, smooth)


def _contract(ctx: Context, node: Node, path: Path, x: QTensor, y: QTensor, smooth: Smooth) -> QTensor:
    return integers.contract(ctx, path, x, y, node.attributes["dimension_numbers"], smooth)


_IN_INTEGERS: Mapping[Kind | None, Callable[[Context, Node, Path, QTensor, QTensor, Smooth], QTensor]] = {
    MUL: _multiply,
    MATMUL: _contract,
}


@interprets(ADD)
def add(ctx: Context, node: Node, operands: Sequence[Value]) -> list[Value]:
    """Addition: never finer than its coarser operand; in evaluation the operands are re-rounded to the output scale.

    The reference does so in a calibration pass in evaluation mode too (docs/codes.md O18).
    """
    path = node.quantizer_path("output_quantizer")
    taken = [accept_operand(ctx, node, i, x) for i, x in enumerate(operands)]
    values = [x.value for x in taken]
    if ctx.in_integers:
        modes = [
            ctx.quantizers[node.quantizer_path("input_quantizer", str(i))].spec.rounding_in_evaluation
            for i in range(len(taken))
        ]
        summands = list(zip(taken, modes, strict=True))
        return [integers.add_on_output_grid(ctx, path, summands, lambda: single(node.run, *values))]
    least = jnp.minimum(taken[0].scale, taken[1].scale)
    if ctx.mode is Mode.calibrate:
        unrounded = ctx.semantics.sums_calibrate_unrounded or ctx.writes_state
    else:
        unrounded = ctx.training or ctx.in_float
    if not unrounded:
        scale = jnp.clip(ctx.state[path]["scale"], 1.0, 2.0**23)
        values = [_re_round(ctx, x, scale, node.quantizer_path("input_quantizer", str(i))) for i, x in enumerate(taken)]
        return [run_quantizer(ctx, path, single(node.run, *values))]
    return [run_quantizer(ctx, path, single(node.run, *values), min_scale=least)]


def _re_round(ctx: Context, x: QTensor, scale: Array, path: tuple[str, ...]) -> Array:
    rounded = round_scaled(x.value, scale, ctx.quantizers[path].spec.round_mode) / scale
    return straight_through(jnp.where(x.scale == scale, x.value, rounded), x.value)
