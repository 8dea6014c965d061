"""A fused convolution and batch normalization in a float or constrained model.

Source: docs/specification/config.md section 5.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from linger_jax.interpret.context import Array, Context, Value, plain
from linger_jax.interpret.interpreter import constrains, interprets
from linger_jax.interpret.layers.conv_bn import ConvBN, RunningStatistics, conv_bn_evaluation, conv_bn_training
from linger_jax.interpret.layers.operand_roles import by_role, results
from linger_jax.interpret.layers.weighted_layers import BIAS, INPUT, KERNEL
from linger_jax.interpret.run_layer import run_layer
from linger_jax.kinds import CONV_BN
from linger_jax.plan import Node
from linger_jax.typing import Path

_MEAN, _VARIANCE = ("batch_stats", "mean"), ("batch_stats", "var")


@interprets(CONV_BN)
@constrains(CONV_BN)
def fused(ctx: Context, node: Node, operands: Sequence[Value]) -> list[Value]:
    """Rule of both layers together; clips where the node is constrained."""
    roles = {role: plain(value) for role, value in by_role(node, operands).items()}
    a = node.layer_info.attributes
    kernel = _output_channels_last(node, roles["conv", *KERNEL])
    channels = kernel.shape[-1:]
    layer = ConvBN(
        kernel=kernel,
        conv_bias=roles.get(("conv", *BIAS)),
        gamma=roles.get(("norm", "params", "scale"), jnp.ones(channels, jnp.float32)),
        beta=roles.get(("norm", "params", "bias"), jnp.zeros(channels, jnp.float32)),
        epsilon=a["epsilon"],
        momentum=a["momentum"],
    )
    running = RunningStatistics(roles["norm", *_MEAN], roles["norm", *_VARIANCE])
    clamp = node.config.clamp_info if node.quantized and node.config is not None else None
    convolve = functools.partial(_convolve, ctx, node)
    if a["training"]:
        y, running = conv_bn_training(layer, running, roles[INPUT], convolve, clamp=clamp)
    else:
        y = conv_bn_evaluation(layer, running, roles[INPUT], convolve, clamp=clamp)
    return results(node, y, {_MEAN: running.mean, _VARIANCE: running.variance})


def _convolve(ctx: Context, node: Node, x: Array, kernel: Array, bias: Array | None) -> Array:
    """The convolution's own computation; where it has no bias of its own, the given one is added."""
    given: dict[Path, Array | None] = {INPUT: x, KERNEL: _output_channels_last(node, kernel), BIAS: bias}
    own = [role for role in node.layer_info.attributes["conv"].operands if role in given]
    (y,) = run_layer(node.float_jaxpr, [given[role] for role in own], fast=ctx.fast)
    if bias is None or BIAS in own:
        return jax.numpy.asarray(y)
    return y + bias.reshape((1,) * (y.ndim - 1) + bias.shape)


def _output_channels_last(node: Node, kernel: Array) -> Array:
    """The kernel with its last two axes exchanged where Flax keeps the input channels last; its own inverse."""
    return jnp.swapaxes(kernel, -1, -2) if node.layer_info.attributes["transpose_kernel"] else kernel
