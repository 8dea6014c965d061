"""Sums, products, concatenations and other grids of quantized tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jax import lax

from linger_jax.export.runner.integer_tensor import IntegerTensor, Value, fraction_bits
from linger_jax.export.runner.operators.node_call import Call, RunRule
from linger_jax.kinds import OnnxOperator
from linger_jax.kinds import onnx_operators as ops
from linger_jax.numerics import Accumulator
from linger_jax.numerics.products import matmul


def add(call: Call) -> Sequence[Value]:
    """``QAdd``: both operands re-rounded to the output's grid, unclamped, then added.

    Source: docs/specification/ops.md section 4.
    """
    scale = call.node.scale("scale_o")

    def on_output_grid(x: IntegerTensor) -> Accumulator:
        return x.accumulator().shifted(x.fraction_bits - fraction_bits(scale), call.node.round_mode)

    return [call.on_result_grid(on_output_grid(call.tensor(0)) + on_output_grid(call.tensor(1, "y")), scale)]


def multiply(call: Call) -> Sequence[Value]:
    """``QMul``."""
    x, y = call.tensor(0), call.tensor(1, "y")
    return [call.on_result_grid(x.accumulator() * y.accumulator(), x.scale * y.scale)]


def matrix_product(call: Call) -> Sequence[Value]:
    """``QBmm``, ``QMatmul``: batched product over the last two axes."""
    x, y = call.tensor(0), call.tensor(1, "y")
    total = matmul(x.value, y.value, x_bits=x.bits, y_bits=y.bits)
    return [call.on_result_grid(total, x.scale * y.scale)]


def regrid(call: Call) -> Sequence[Value]:
    """``Requant``."""
    x = call.tensor(0)
    return [call.on_result_grid(x.accumulator(), x.scale)]


def concatenate(call: Call) -> Sequence[Value]:
    """``QCat``: each operand re-rounded to the output's grid."""
    parts = [call.tensor(i, f"x_{i}") for i in range(len(call.operands))]
    axis = call.node.integer("axis") % parts[0].value.ndim
    if any(part.declared is not None for part in parts):
        return [_both_directions(call, parts, axis)]
    moved = [call.on_result_grid(part.accumulator(), part.scale) for part in parts]
    return [moved[0].holds(lax.concatenate([part.value for part in moved], axis))]


def _both_directions(call: Call, parts: Sequence[IntegerTensor], axis: int) -> IntegerTensor:
    """Both directions of a recurrent layer of linger, which joins them unrounded and labels them with one scale."""
    finest = max(part.scale for part in parts)
    bits = max(part.bits + fraction_bits(finest) - part.fraction_bits for part in parts)
    values = [part.value << (fraction_bits(finest) - part.fraction_bits) for part in parts]
    return IntegerTensor(lax.concatenate(values, axis), finest, bits, call.node.scale("scale_o"))


RULES: Mapping[OnnxOperator, RunRule] = {
    ops.QADD: add,
    ops.QMUL: multiply,
    ops.QBMM: matrix_product,
    ops.QMATMUL: matrix_product,
    ops.REQUANT: regrid,
    ops.QCAT: concatenate,
}
