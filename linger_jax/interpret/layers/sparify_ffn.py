"""SparifyFFN: three products, of the hidden ones only the group that the input asks for.

Source: docs/specification/layers.md section 11.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from linger_jax.interpret.apply_quantizer import BiasBeside, accept, quantize_bias, quantize_weight, run_quantizer
from linger_jax.interpret.context import Array, Context, Mode, Value
from linger_jax.interpret.integers import contract
from linger_jax.interpret.interpreter import interprets
from linger_jax.interpret.layers.operand_roles import by_role, results
from linger_jax.interpret.layers.weighted_layers import INPUT, output_clip
from linger_jax.kinds import SPARIFY_FFN
from linger_jax.nn import FINAL_SHARE, GROUPS, kept_groups, select_largest
from linger_jax.numerics.products import ordered_product, precise_product
from linger_jax.plan import Node
from linger_jax.quantizers import QTensor

CALLS = ("sparify", "calls")


@interprets(SPARIFY_FFN)
def sparify_ffn(ctx: Context, node: Node, operands: Sequence[Value]) -> list[Value]:
    """Rule of a SparifyFFN. One group in eight is kept in training too; the counter of the float schedule stays."""
    roles = by_role(node, operands)
    x = accept(ctx, node.quantizer_path("input_quantizer"), roles[INPUT])
    hidden = _product(ctx, node, roles, "fc1", x, "outfc1_quantizer")
    groups = _product(ctx, node, roles, "mask", x, "outmask_quantizer")
    flags = select_largest(jax.nn.softmax(groups.value), kept_groups(jnp.float32(FINAL_SHARE)))
    flags = jnp.repeat(flags, hidden.value.shape[-1] // GROUPS, axis=-1)
    kept = QTensor(jax.nn.relu(hidden.value * flags), hidden.scale, hidden.bits)
    y = _product(ctx, node, roles, "fc2", kept, "output_quantizer", clip=output_clip(ctx, node))
    return results(node, y, {CALLS: roles.get(CALLS)})


def _product(
    ctx: Context,
    node: Node,
    roles: Mapping[Any, Value],
    name: str,
    x: QTensor,
    output: str,
    *,
    clip: float | None = None,
) -> QTensor:
    """x W + b at an output quantizer, with weight and bias quantized."""
    path, last = node.quantizer_path(output), x.value.ndim - 1
    given, bias_path = roles.get(("params", f"bias_{name}")), node.quantizer_path(f"bias_{name}_quantizer")
    weight_path, kernel = node.quantizer_path(f"weight_{name}_quantizer"), roles["params", f"weight_{name}"]
    weight = quantize_weight(ctx, weight_path, kernel, BiasBeside(bias_path, given, x.scale))
    bias = None
    if given is not None:
        bias = quantize_bias(ctx, bias_path, given, weight.scale * x.scale)
        bias = QTensor(bias.value.reshape((1,) * last + given.shape), bias.scale, bias.bits)

    def in_float() -> Array:
        in_order = ctx.mode is Mode.calibrate and ctx.semantics.sums_in_file_order
        product = ordered_product if in_order else precise_product(jnp.matmul, None, x.bits, weight.bits)
        y = product(x.value, weight.value)
        return y if bias is None else y + bias.value

    if not ctx.in_integers:
        return run_quantizer(ctx, path, in_float(), clip=clip)
    return contract(ctx, path, x, weight, (((last,), (0,)), ((), ())), in_float, bias)
