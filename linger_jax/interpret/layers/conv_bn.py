"""ConvBN: a convolution and the batch normalization behind it as one float layer.

In training the output is a blend of the normalized convolution and of the convolution with folded weights, the form
the chip runs, so that the weights meet their later clips and ranges early. Without a clamp section this is the plain
float ConvBN layer, with one the constrained layer. Kernels have the output channel last, as in Flax and as ``lax``
wants them for transposed convolutions too, groups included: the folded factor multiplies that axis.

Source: docs/specification/config.md section 5.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from linger_jax.config import ClampInfo
from linger_jax.interpret.layers.batch_norm import moving_average
from linger_jax.quantizers import dynamic_clip, static_clip

Array = jax.Array

NORMALIZED_SHARE = 0.1
FOLDED_SHARE = 0.9
"""Weights of the two outputs in training (docs/specification/config.md section 5, step 5)."""

Convolve = Callable[[Array, Array, Array | None], Array]
"""Convolves an input with a kernel and adds a bias, if there is one: ``(x, kernel, bias) -> y``, channels last."""


@dataclasses.dataclass(frozen=True)
class ConvBN:
    """Parameters and static settings of one layer; float32, C output channels.

    Attributes:
      kernel: [window..., in/groups, C].
      conv_bias: [C], or None.
      gamma, beta: [C], scale and shift of the normalization.
      epsilon: added to the variance.
      momentum: share of the old running statistics in the new ones, as in Flax (1 - PyTorch's).
    """

    kernel: Array
    conv_bias: Array | None
    gamma: Array
    beta: Array
    epsilon: float
    momentum: float


@dataclasses.dataclass(frozen=True)
class RunningStatistics:
    """Running mean and variance, float32 [C]; the variance is the unbiased one."""

    mean: Array
    variance: Array


def conv_bn_training(
    layer: ConvBN,
    running: RunningStatistics,
    x: Array,
    convolve: Convolve,
    *,
    clamp: ClampInfo | None = None,
    convolve_folded: Convolve | None = None,
) -> tuple[Array, RunningStatistics]:
    """Output and new running statistics of a training step.

    Args:
      layer: parameters.
      running: statistics so far.
      x: float32, [N, plane..., in].
      convolve: the layer's convolution.
      clamp: clips of the constrained layer; None for the float layer.
      convolve_folded: the convolution with folded weights, which always pads with zeros; None where the first does.

    Returns:
      y: float32, [N, plane..., C]; gradients flow through the batch's mean and variances.
      new statistics.
    """
    raw = convolve(x, layer.kernel, layer.conv_bias)
    axes = tuple(range(raw.ndim - 1))
    count = jnp.float32(raw.size // raw.shape[-1])
    total = jnp.sum(raw, axes)
    mean = total / count
    spread = jnp.sum(jnp.square(raw), axes) - total * mean
    unbiased = _not_negative(spread / (count - jnp.float32(1)))
    biased = _not_negative(spread / count)
    statistics = RunningStatistics(
        moving_average(running.mean, mean, layer.momentum),
        moving_average(running.variance, unbiased, layer.momentum),
    )
    epsilon = jnp.float32(layer.epsilon)
    deviation = jnp.sqrt(biased + epsilon)
    normalized = (raw - _across(mean, raw)) / _across(deviation, raw) * _across(layer.gamma, raw) + _across(
        layer.beta, raw
    )
    kernel, bias = _folded(layer, mean, jnp.sqrt(unbiased + epsilon), clamp)
    folded = (convolve_folded or convolve)(x, kernel, bias)
    y = jnp.float32(NORMALIZED_SHARE) * normalized + jnp.float32(FOLDED_SHARE) * folded
    return _clipped_output(y, clamp), statistics


def conv_bn_evaluation(
    layer: ConvBN, running: RunningStatistics, x: Array, convolve_folded: Convolve, *, clamp: ClampInfo | None = None
) -> Array:
    """Output in evaluation: one convolution with the weights folded by the running statistics.

    Args:
      layer: parameters.
      running: statistics.
      x: float32, [N, plane..., in].
      convolve_folded: the convolution; it always pads with zeros.
      clamp: clips of the constrained layer; None for the float layer.

    Returns:
      float32, [N, plane..., C].
    """
    kernel, bias = _folded(layer, running.mean, jnp.sqrt(running.variance + jnp.float32(layer.epsilon)), clamp)
    return _clipped_output(convolve_folded(x, kernel, bias), clamp)


def _folded(layer: ConvBN, mean: Array, deviation: Array, clamp: ClampInfo | None) -> tuple[Array, Array]:
    """Kernel and bias with the normalization in them, clipped: the static bound wins over the factor."""
    factor = layer.gamma / deviation
    kernel = layer.kernel * _across(factor, layer.kernel)
    shift = -mean if layer.conv_bias is None else layer.conv_bias - mean
    bias = shift * factor + layer.beta
    if clamp is None:
        return kernel, bias
    if clamp.clamp_weight_value is not None:
        kernel = static_clip(kernel, clamp.clamp_weight_value)
    else:
        kernel = dynamic_clip(kernel, clamp.clamp_factor_value)
    return kernel, static_clip(bias, clamp.clamp_bias_value)


def _clipped_output(y: Array, clamp: ClampInfo | None) -> Array:
    return y if clamp is None else static_clip(y, clamp.clamp_activation_value)


def _across(channel: Array, x: Array) -> Array:
    """A value a channel, of ``x``'s rank."""
    return channel.reshape((1,) * (x.ndim - 1) + channel.shape)


def _not_negative(x: Array) -> Array:
    return jnp.where(x < 0, jnp.float32(0), x)
