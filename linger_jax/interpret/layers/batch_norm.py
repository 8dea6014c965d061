"""BatchNorm as a quantized scale and shift (docs/specification/layers.md section 4)."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from linger_jax.interpret.apply_quantizer import BiasBeside, accept, quantize_bias, quantize_weight
from linger_jax.interpret.context import Array, Context, Mode, Value
from linger_jax.interpret.integers import multiply
from linger_jax.interpret.interpreter import interprets
from linger_jax.interpret.layers.operand_roles import by_role, results
from linger_jax.interpret.layers.weighted_layers import INPUT, quantize_output
from linger_jax.kinds import BATCH_NORM
from linger_jax.numerics import true_reciprocal
from linger_jax.numerics.products import rounded_product
from linger_jax.numerics.sums import channel_mean, channel_moments, channel_variance
from linger_jax.plan import Node
from linger_jax.quantizers import QTensor

GAMMA, BETA = ("params", "scale"), ("params", "bias")
MEAN, VARIANCE = ("batch_stats", "mean"), ("batch_stats", "var")
# Floor of the batch variance (docs/specification/layers.md section 4).
LEAST_VARIANCE = 1e-5
# A batch of images: what BatchNorm2d takes, with BatchNorm1d below it.
RANK_OF_PLANES = 4


@interprets(BATCH_NORM)
def batch_norm(ctx: Context, node: Node, operands: Sequence[Value]) -> list[Value]:
    """Rule of a batch normalization over the last axis."""
    roles, a = by_role(node, operands), node.layer_info.attributes
    x = accept(ctx, node.quantizer_path("input_quantizer"), roles[INPUT])
    channels = (x.value.shape[-1],)
    if a["training"]:
        mean, variance = _batch_statistics(ctx, x)
        updates = {
            MEAN: moving_average(roles[MEAN], mean, a["momentum"]),
            VARIANCE: moving_average(roles[VARIANCE], variance, a["momentum"]),
        }
    else:
        mean, variance, updates = roles[MEAN], roles[VARIANCE], {}
    gamma = roles.get(GAMMA, jnp.ones(channels, jnp.float32))
    beta = roles.get(BETA, jnp.zeros(channels, jnp.float32))
    alpha, shift = scale_and_shift(gamma, beta, mean, variance, a["epsilon"])
    across, bias_path = (1,) * (x.value.ndim - 1) + channels, node.quantizer_path("bias_quantizer")
    beside = BiasBeside(bias_path, shift, x.scale)
    weight = quantize_weight(ctx, node.quantizer_path("weight_quantizer"), alpha, beside)
    moved = {r: updates.get(r, roles[r]) for r in (MEAN, VARIANCE)}
    weight = QTensor(weight.value.reshape(across), weight.scale, weight.bits)
    bias = quantize_bias(ctx, bias_path, shift, weight.scale * x.scale)
    bias = QTensor(bias.value.reshape(across), bias.scale, bias.bits)

    def in_float() -> Array:
        return rounded_product(weight.value, x.value) + bias.value

    if not ctx.in_integers:
        return results(node, quantize_output(ctx, node, in_float()), moved)
    return results(node, multiply(ctx, node.quantizer_path("output_quantizer"), x, weight, in_float, bias), moved)


def _batch_statistics(ctx: Context, x: QTensor) -> tuple[Array, Array]:
    """Mean and floored biased variance of each channel."""
    axes = tuple(range(x.value.ndim - 1))
    if ctx.mode is Mode.calibrate and ctx.semantics.sums_in_file_order:
        mean, variance = _reference_statistics(x.value)
    else:
        if ctx.mode is Mode.calibrate:
            mean, squares = jnp.mean(x.value, axes), jnp.mean(jnp.square(x.value), axes)
        else:
            mean, squares = channel_moments(x.value, x.scale, axes, bits=x.bits)
        variance = squares - rounded_product(mean, mean)
    return mean, jnp.where(variance < LEAST_VARIANCE, jnp.float32(LEAST_VARIANCE), variance)


def _reference_statistics(x: Array) -> tuple[Array, Array]:
    """Mean and biased variance of the reference's float pass: BatchNorm1d by two passes, BatchNorm2d by one."""
    mean = channel_mean(x)
    if x.ndim < RANK_OF_PLANES:
        return mean, channel_variance(x)
    return mean, channel_mean(jnp.square(x)) - rounded_product(mean, mean)


def moving_average(running: Array, value: Array, momentum: float) -> Array:
    """(1 - f) running + f value with Flax's momentum = 1 - f; no gradient flows into running statistics."""
    kept = rounded_product(jnp.float32(momentum) * jnp.ones_like(running), running)
    new = rounded_product(jnp.float32(1.0 - momentum) * jnp.ones_like(value), value)
    return jax.lax.stop_gradient(kept + new)


def scale_and_shift(gamma: Array, beta: Array, mean: Array, variance: Array, epsilon: float) -> tuple[Array, Array]:
    """alpha = gamma / sqrt(variance + eps) and beta - mean * alpha, each product rounded to float32."""
    alpha = gamma * true_reciprocal(jnp.sqrt(variance + jnp.float32(epsilon)))
    return alpha, beta - rounded_product(mean, alpha)
