"""Constrain mode: float layers that clip weights, biases and outputs (docs/specification/config.md section 5)."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp

from linger_jax.interpret.context import Context, Value, plain
from linger_jax.interpret.interpreter import constrains
from linger_jax.interpret.layers.batch_norm import GAMMA, MEAN, VARIANCE, moving_average
from linger_jax.interpret.layers.operand_roles import by_role, results
from linger_jax.interpret.layers.weighted_layers import BIAS, INPUT
from linger_jax.interpret.run_layer import run_layer
from linger_jax.kinds import BATCH_NORM, LAYERS
from linger_jax.plan import Node
from linger_jax.quantizers import dynamic_clip, static_clip


@constrains(*(kind for kind in LAYERS if kind.stored_weights and kind.unconstrained_because is None))
def weighted(ctx: Context, node: Node, operands: Sequence[Value]) -> list[Value]:
    """Layers of stored weights, as Dense, Conv, LayerNorm, Embed: the dynamic factor wins over the static value."""
    clamp, roles = node.layer_config.clamp_info, by_role(node, operands)
    for role in (("params", weight) for weight in node.layer_info.kind.stored_weights):
        if role in roles:
            factor = clamp.clamp_factor_value
            weight = roles[role]
            roles[role] = (
                static_clip(weight, clamp.clamp_weight_value) if factor is None else dynamic_clip(weight, factor)
            )
    if BIAS in roles:
        roles[BIAS] = static_clip(roles[BIAS], clamp.clamp_bias_value)
    (y,) = run_layer(node.float_jaxpr, [plain(roles[r]) for r in node.layer_info.operands], fast=ctx.fast)
    return results(node, static_clip(y, clamp.clamp_activation_value))


@constrains(BATCH_NORM)
def batch_norm(ctx: Context, node: Node, operands: Sequence[Value]) -> list[Value]:
    """BatchNorm: the static value wins over the dynamic factor, both act on the folded scale."""
    del ctx
    clamp, roles, a = node.layer_config.clamp_info, by_role(node, operands), node.layer_info.attributes
    x = roles[INPUT]
    channels, axes = (x.shape[-1],), tuple(range(x.ndim - 1))
    updates = {MEAN: roles[MEAN], VARIANCE: roles[VARIANCE]}
    if a["training"]:
        mean = jnp.mean(x, axes)
        variance = jnp.maximum(jnp.mean(jnp.square(x), axes) - jnp.square(mean), jnp.float32(0.0))
        updates = {
            MEAN: moving_average(roles[MEAN], mean, a["momentum"]),
            VARIANCE: moving_average(roles[VARIANCE], variance, a["momentum"]),
        }
    else:
        mean, variance = roles[MEAN], roles[VARIANCE]
    gamma = roles.get(GAMMA, jnp.ones(channels, jnp.float32))
    beta = roles.get(BIAS, jnp.zeros(channels, jnp.float32))
    alpha = gamma / jnp.sqrt(variance + jnp.float32(a["epsilon"]))
    shift = static_clip(beta - mean * alpha, clamp.clamp_bias_value)
    if clamp.clamp_weight_value is not None:
        alpha = static_clip(alpha, clamp.clamp_weight_value)
    elif clamp.clamp_factor_value is not None:
        alpha = dynamic_clip(alpha, clamp.clamp_factor_value)
    across = (1,) * (x.ndim - 1) + channels
    y = alpha.reshape(across) * x + shift.reshape(across)
    return results(node, static_clip(y, clamp.clamp_activation_value), updates)
