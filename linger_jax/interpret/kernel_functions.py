"""Quantized functions: sigmoid, tanh, gelu, swish, softmax by the chip's kernels.

Source: docs/specification/ops.md sections 4 to 6.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.config import RoundMode
from linger_jax.errors import PlatformLimitError
from linger_jax.interpret.apply_quantizer import accept_operand, noted, run_quantizer, straight_through, where_number
from linger_jax.interpret.context import Array, Context, Mode, Value
from linger_jax.interpret.integers import exponent_of, integers_of
from linger_jax.interpret.integers import operands as operands_of
from linger_jax.interpret.interpreter import InterpreterRule, interprets, single
from linger_jax.kinds import OPERATORS, ChipFunction, OperatorKind
from linger_jax.numerics import chip_kernels, float_functions
from linger_jax.numerics.chip_kernels import (
    GATED_FRACTION_BITS,
    SOFTMAX_INPUT_FRACTION_BITS,
    SOFTMAX_RESULT_FRACTION_BITS,
    fixed_scale,
    from_fixed_point,
    kernels_of,
    saturated_int32,
    saturated_to,
    steps_to_fixed_point,
    values_to_fixed_point,
    wrapped_int32,
)
from linger_jax.plan import Node
from linger_jax.quantizers import SCALE, QTensor

_FULL_WIDTH = 32
_EXACT_IN_FLOAT_BITS = 16
_LARGEST_QUANTIZED_BITS = 24
"""Results of more bits are the kernel's integers themselves, which float32 cannot round again.

Source: docs/specification/ops.md section 5.
"""


@dataclasses.dataclass(frozen=True)
class _Functions:
    """What computes an operator: its integer kernel, and its float function to the last bit where that counts."""

    kernel: Callable[..., Array]
    exact: Callable[[Array], Array] | None

    @classmethod
    def named(cls, function: ChipFunction) -> _Functions:
        """The functions that a record names."""
        exact = None if function.exact is None else getattr(float_functions, function.exact)
        return cls(getattr(chip_kernels, function.kernel), exact)


def _squashing(kind: OperatorKind, functions: _Functions) -> InterpreterRule:
    """sigmoid and tanh: the result lies at scale 2^(bits - 1), or at one that follows the data where no scale is fixed.

    Where results crowd below 1 their last bits decide a threshold: calibration takes the exact function.
    """

    def rule(ctx: Context, node: Node, operands: Sequence[Value]) -> list[Value]:
        path = _output(node)
        platform, bits = ctx.settings.config.platform, ctx.quantizers[path].spec.bits
        x = accept_operand(ctx, node, 0, operands[0])
        real, is_fixed = single(node.run, x.value), platform in kind.fixed_scale_on
        if ctx.mode is Mode.rescale:
            given = jnp.float32(fixed_scale(bits)) if is_fixed else None
            return [run_quantizer(ctx, path, real, given_scale=given)]
        if ctx.in_float:
            exact = real if functions.exact is None else functions.exact(lax.stop_gradient(x.value))
            recorded = run_quantizer(ctx, path, straight_through(exact, real))
            _keep_fixed_scale(ctx, path)
            return [recorded]
        _refuse_missing(ctx, node, kind)
        fraction_bits = chip_kernels.result_fraction_bits(platform, bits)
        y = functions.kernel(sigmoid_input(ctx, x, _rounding(ctx, node)), platform, fraction_bits)
        value = straight_through(where_number(x.value, from_fixed_point(y, fraction_bits)), real)
        if not is_fixed:
            return [run_quantizer(ctx, path, value)]
        scale = jnp.float32(fixed_scale(bits))
        if bits > _LARGEST_QUANTIZED_BITS:
            ctx.state[path] = {**ctx.state[path], SCALE: scale}
            return [noted(ctx, path, value, QTensor(value, scale, bits))]
        _keep_fixed_scale(ctx, path)
        return [run_quantizer(ctx, path, value, given_scale=scale)]

    return rule


def _keep_fixed_scale(ctx: Context, path: tuple[str, ...]) -> None:
    fixed = ctx.quantizers[path].fixed_scale
    if fixed is not None:
        ctx.state[path] = {**ctx.state[path], SCALE: jnp.full_like(ctx.state[path][SCALE], fixed)}


def sigmoid_input(ctx: Context, x: QTensor, rounding: RoundMode) -> Array:
    """int32 operand of sigmoid and tanh; beyond an input of 16 bits a kernel answers 0 (docs/codes.md K1).

    Args:
      ctx: the interpretation.
      x: the operand.
      rounding: of its input quantizer.
    """
    kernel = kernels_of(ctx.settings.config.platform, "sigmoid and tanh").sigmoid_tanh
    if _needs_integers(ctx, x):
        return _integers_at(ctx, x, kernel.input_fraction_bits, kernel.input_bits)
    fixed = steps_to_fixed_point(lax.stop_gradient(x.value), x.scale, kernel.input_fraction_bits, rounding)
    if kernel.linger_wraps_input and not ctx.semantics.kernel_inputs_saturate:
        return wrapped_int32(fixed)
    return saturated_to(saturated_int32(fixed), kernel.input_bits)


def _needs_integers(ctx: Context, x: QTensor) -> bool:
    """Whether float32, in which the reference re-rounds an operand, could lose its last bit."""
    return ctx.semantics.evaluates_in_integers and x.bits > _EXACT_IN_FLOAT_BITS


def _integers_at(ctx: Context, x: QTensor, fraction_bits: int, bits: int) -> Array:
    """An operand in the Q-format that a kernel reads, rounded half up and saturated; int32."""
    (whole,) = operands_of(ctx, x)
    return integers_of(whole).requantized(exponent_of(whole) - np.int32(fraction_bits), bits, RoundMode.floor_add)


def _gated(kind: OperatorKind, functions: _Functions) -> InterpreterRule:
    """gelu and swish; what does not fit the kernel's input saturates, in the reference it wraps (docs/codes.md K2)."""

    def rule(ctx: Context, node: Node, operands: Sequence[Value]) -> list[Value]:
        x = accept_operand(ctx, node, 0, operands[0])
        real = single(node.run, x.value)
        if ctx.in_float:
            return [run_quantizer(ctx, _output(node), real)]
        _refuse_missing(ctx, node, kind)
        if _needs_integers(ctx, x):
            whole = _integers_at(ctx, x, GATED_FRACTION_BITS, _FULL_WIDTH)
        else:
            fixed = steps_to_fixed_point(lax.stop_gradient(x.value), x.scale, GATED_FRACTION_BITS, _rounding(ctx, node))
            whole = (saturated_int32 if ctx.semantics.kernel_inputs_saturate else wrapped_int32)(fixed)
        y = functions.kernel(whole, ctx.settings.config.platform)
        value = straight_through(where_number(x.value, from_fixed_point(y, GATED_FRACTION_BITS)), real)
        return [run_quantizer(ctx, _output(node), value)]

    return rule


def _rows(kind: OperatorKind, functions: _Functions) -> InterpreterRule:
    """Softmax, along the node's axis."""

    def rule(ctx: Context, node: Node, operands: Sequence[Value]) -> list[Value]:
        x = accept_operand(ctx, node, 0, operands[0])
        real = single(node.run, x.value)
        if ctx.in_float:
            return [run_quantizer(ctx, _output(node), real)]
        _refuse_missing(ctx, node, kind)
        axis = node.attributes["axis"]
        rows = jnp.moveaxis(lax.stop_gradient(x.value), axis, -1)
        if _needs_integers(ctx, x):
            whole = jnp.moveaxis(_integers_at(ctx, x, SOFTMAX_INPUT_FRACTION_BITS, _FULL_WIDTH), axis, -1)
        else:
            whole = saturated_int32(values_to_fixed_point(rows, SOFTMAX_INPUT_FRACTION_BITS))
        y = from_fixed_point(functions.kernel(whole, ctx.settings.config.platform), SOFTMAX_RESULT_FRACTION_BITS)
        y = where_number(jnp.sum(rows, -1, keepdims=True), y)
        value = straight_through(jnp.moveaxis(y, -1, axis), real)
        return [run_quantizer(ctx, _output(node), value)]

    return rule


def _refuse_missing(ctx: Context, node: Node, kind: OperatorKind) -> None:
    """The reference finds out here that a platform lacks a kernel; otherwise the plan has made it a float step.

    Source: docs/decisions.md D8.
    """
    platform = ctx.settings.config.platform
    if not kind.runs_on(platform):
        raise PlatformLimitError(
            f"{node.label}: {platform.value} has no {kind.name} kernel (compat: reference). Choose another platform, "
            f"leave it float with disable_ops={kind.name!r}, or use compat: chip, which does so by itself"
        )


def _output(node: Node) -> tuple[str, ...]:
    return node.quantizer_path("output_quantizer")


def _rounding(ctx: Context, node: Node) -> RoundMode:
    return ctx.quantizers[node.quantizer_path("input_quantizer", "0")].spec.rounding


_RULE_OF_FORM: Mapping[str, Callable[[OperatorKind, _Functions], InterpreterRule]] = {
    "squashing": _squashing,
    "gated": _gated,
    "rows": _rows,
}
for _kind in OPERATORS:
    if _kind.function is not None:
        interprets(_kind)(_RULE_OF_FORM[_kind.function.form](_kind, _Functions.named(_kind.function)))
