"""SparifyFFN: three products, of the hidden ones only the group that the input asks for (spec/layers.md section 11)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from linger_jax.interpret.context import Array, Context, Mode, Value
from linger_jax.interpret.layers.roles import by_role, results, site
from linger_jax.interpret.layers.weighted import INPUT, quantize_output
from linger_jax.interpret.quantize import accept, quantize_bias, quantize_weight, run_quantizer
from linger_jax.nn.sparify_ffn import FINAL_SHARE, GROUPS, kept_groups, select_largest
from linger_jax.numerics.ordered_product import ordered_product
from linger_jax.plan import Node
from linger_jax.quantizers import QTensor

CALLS = ("sparify", "calls")


def sparify_ffn(ctx: Context, node: Node, operands: Sequence[Value]) -> list[Value]:
    """Rule of a SparifyFFN. One group in eight is kept in training too; the counter of the float schedule stays."""
    roles = by_role(node, operands)
    x = accept(ctx, site(node, "input_quantizer"), roles[INPUT])
    hidden = run_quantizer(ctx, site(node, "outfc1_quantizer"), _product(ctx, node, roles, "fc1", x))
    groups = run_quantizer(ctx, site(node, "outmask_quantizer"), _product(ctx, node, roles, "mask", x))
    flags = select_largest(jax.nn.softmax(groups.value), kept_groups(jnp.float32(FINAL_SHARE)))
    flags = jnp.repeat(flags, hidden.value.shape[-1] // GROUPS, axis=-1)
    kept = QTensor(jax.nn.relu(hidden.value * flags), hidden.scale, hidden.bits)
    y = _product(ctx, node, roles, "fc2", kept)
    return results(node, quantize_output(ctx, node, y), {CALLS: roles.get(CALLS)})


def _product(ctx: Context, node: Node, roles: Mapping[Any, Value], name: str, x: QTensor) -> Array:
    """x W + b with weight and bias quantized."""
    weight = quantize_weight(ctx, site(node, f"weight_{name}_quantizer"), roles["params", f"weight_{name}"])
    in_order = ctx.mode is Mode.calibrate and ctx.choices.sums_in_file_order
    y = ordered_product(x.value, weight.value) if in_order else x.value @ weight.value
    bias = roles.get(("params", f"bias_{name}"))
    if bias is None:
        return y
    bias = quantize_bias(ctx, site(node, f"bias_{name}_quantizer"), bias, weight.scale * x.scale).value
    return y + bias.reshape((1,) * (y.ndim - 1) + bias.shape)
