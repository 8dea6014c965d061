"""Where floats become integers and integers floats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from linger_jax.export.runner.common_scale import requantize, saturated
from linger_jax.export.runner.integer_tensor import IntegerTensor, Value
from linger_jax.export.runner.operators.node_call import Call, RunRule
from linger_jax.kinds import OnnxOperator
from linger_jax.kinds import onnx_operators as ops


def quant(call: Call) -> Sequence[Value]:
    """``clip(floor(x * scale_x + 0.5))``, or as ``quant_mode`` says (docs/specification/onnx_export.md section 2)."""
    scale, bits = call.node.scale("scale_x"), call.node.integer("data_bits")
    x = call.optional(0)
    if isinstance(x, IntegerTensor):
        return [requantize(x.accumulator(), x.scale, scale, bits, call.node.round_mode)]
    return [saturated(call.plain(0), scale, bits, call.node.round_mode)]


def dequant(call: Call) -> Sequence[Value]:
    """``x / scale_o``; the scale is the one that the integers lie on."""
    return [call.tensor(0).real()]


RULES: Mapping[OnnxOperator, RunRule] = {ops.QUANT: quant, ops.DEQUANT: dequant}
