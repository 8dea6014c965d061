"""Dense, Conv, ConvTranspose and products of parameters: fake-quantized operands, float computation, output.

The order of steps is the common flow of docs/specification/layers.md; a product of parameters outside known layers is
one by docs/decisions.md D23. The float computation is the layer's own jaxpr, so every attribute that Flax knows
(padding strings, groups, dilation, tuples of features) means here exactly what it means there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from linger_jax.interpret.apply_quantizer import BiasBeside, accept, quantize_bias, quantize_weight, run_quantizer
from linger_jax.interpret.context import Array, Context, Value
from linger_jax.interpret.integers import any_nan, at_output, bias_on_grid, exponent_of, layer_sum
from linger_jax.interpret.integers import operands as operands_of
from linger_jax.interpret.interpreter import interprets
from linger_jax.interpret.layers.operand_roles import by_role, results
from linger_jax.interpret.run_layer import run_layer
from linger_jax.kinds import CONV, CONV_TRANSPOSE, CUSTOM_CONV, CUSTOM_LINEAR, DENSE, EINSUM
from linger_jax.plan import Node
from linger_jax.plan.graph import WEIGHT_QUANTIZER
from linger_jax.quantizers import QTensor

INPUT, KERNEL, BIAS = ("input", "0"), ("params", "kernel"), ("params", "bias")


@interprets(DENSE, EINSUM, CONV, CONV_TRANSPOSE, CUSTOM_LINEAR, CUSTOM_CONV)
def weighted(ctx: Context, node: Node, operands: Sequence[Value]) -> list[Value]:
    """Rule of a layer with a kernel and perhaps a bias."""
    roles = by_role(node, operands)
    x = accept(ctx, node.quantizer_path("input_quantizer"), roles[INPUT])
    bias_path = node.quantizer_path("bias_quantizer")
    beside = BiasBeside(bias_path, roles.get(BIAS), x.scale)
    kernel = quantize_weight(ctx, node.attributes[WEIGHT_QUANTIZER], roles[KERNEL], beside)
    bias = quantize_bias(ctx, bias_path, roles[BIAS], kernel.scale * x.scale) if BIAS in roles else None
    fake = {**roles, INPUT: x.value, KERNEL: kernel.value} | ({} if bias is None else {BIAS: bias.value})

    def in_float() -> Array:
        arrays = [fake[role] for role in node.layer_info.operands]
        (y,) = run_layer(node.float_jaxpr, arrays, fast=ctx.fast, bits=(x.bits, kernel.bits))
        return y

    if not ctx.in_integers:
        return results(node, quantize_output(ctx, node, in_float()))
    left, right = operands_of(ctx, x, kernel)
    exponent, values = exponent_of(left, right), {**roles, INPUT: left, KERNEL: right}
    if bias is not None:
        values[BIAS] = bias_on_grid(bias, exponent)
    total = layer_sum(node, [values[role] for role in node.layer_info.operands])
    unknown = any_nan(*(fake[role] for role in (INPUT, KERNEL, BIAS) if role in fake))
    return results(node, at_output(ctx, node.quantizer_path("output_quantizer"), total, exponent, in_float, unknown))


def quantize_output(ctx: Context, node: Node, y: Array) -> QTensor:
    """Clip and output quantizer of a layer (docs/specification/quantizers.md section 10)."""
    return run_quantizer(ctx, node.quantizer_path("output_quantizer"), y, clip=output_clip(ctx, node))


def output_clip(ctx: Context, node: Node) -> float | None:
    """Bound of a layer's output in training, or None."""
    bound: Any = node.layer_config.clamp_info.clamp_activation_value
    return None if bound is None or ctx.evaluating else float(bound)
