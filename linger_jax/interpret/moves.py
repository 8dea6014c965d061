"""Operators that move values without changing them: scale and bits pass through."""

from __future__ import annotations

from collections.abc import Sequence

from linger_jax.interpret.context import Context, Value, plain
from linger_jax.interpret.interpreter import interprets
from linger_jax.kinds import DROPOUT, MAX_POOL, MOVED, RELU, RELU6, GridOf
from linger_jax.numerics import relu
from linger_jax.numerics.pooling import max_pool
from linger_jax.plan import Node
from linger_jax.quantizers import QTensor


@interprets(MOVED, DROPOUT, RELU6)
def passes_through(ctx: Context, node: Node, operands: Sequence[Value]) -> list[Value]:
    """Evaluates the float operation on the value; float results keep the scale of the quantized operand."""
    del ctx
    assert node.run is not None
    results = node.run(*(plain(x) for x in operands))
    if node.move is not None and node.move.grid is GridOf.each:
        sources = list(operands)
    else:
        sources = [next(x for x in operands if isinstance(x, QTensor))] * len(results)
    return [
        y if bits is None else QTensor(y, source.scale, bits)
        for y, source, bits in zip(results, sources, node.bits, strict=True)
    ]


@interprets(MAX_POOL)
def pool_maximum(ctx: Context, node: Node, operands: Sequence[Value]) -> list[Value]:
    """Max pooling of a quantized value."""
    (x,) = operands
    a = node.attributes
    y = max_pool(
        x.value,
        tuple(a["window_dimensions"]),
        tuple(a["window_strides"]),
        tuple(a["padding"]),
        tuple(a["base_dilation"]),
        tuple(a["window_dilation"]),
        fast=ctx.fast,
    )
    return [QTensor(y, x.scale, x.bits)]


@interprets(RELU)
def rectify(ctx: Context, node: Node, operands: Sequence[Value]) -> list[Value]:
    """relu of a quantized value; for the gradient only a mask of it is kept."""
    if not ctx.fast or len(operands) != 1:
        return passes_through(ctx, node, operands)
    (x,) = operands
    return [QTensor(relu(x.value), x.scale, x.bits)]
