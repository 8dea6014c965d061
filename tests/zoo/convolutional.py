"""Image classifiers: ResNet-18 (He et al. 2016) and MobileNet (Howard et al. 2017), narrow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

Module = Callable[..., Any]


class BasicBlock(nn.Module):
    """Two convolutions and a shortcut, projected where the shape changes."""

    filters: int
    conv: Module
    norm: Module
    strides: tuple[int, int] = (1, 1)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        residual = x
        y = self.conv(self.filters, (3, 3), self.strides)(x)
        y = self.norm()(y)
        y = nn.relu(y)
        y = self.conv(self.filters, (3, 3))(y)
        y = self.norm(scale_init=nn.initializers.zeros_init())(y)
        if residual.shape != y.shape:
            residual = self.conv(self.filters, (1, 1), self.strides, name="conv_proj")(residual)
            residual = self.norm(name="norm_proj")(residual)
        return nn.relu(residual + y)


class ResNet18(nn.Module):
    """Four stages of two basic blocks."""

    classes: int = 10
    filters: int = 4
    stages: Sequence[int] = (2, 2, 2, 2)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = True) -> jax.Array:
        conv = partial(nn.Conv, use_bias=False)
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, epsilon=1e-5)
        x = conv(self.filters, (7, 7), (2, 2), padding=[(3, 3), (3, 3)], name="conv_init")(x)
        x = norm(name="bn_init")(x)
        x = nn.relu(x)
        x = nn.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")
        for i, block_count in enumerate(self.stages):
            for j in range(block_count):
                strides = (2, 2) if i > 0 and j == 0 else (1, 1)
                x = BasicBlock(self.filters * 2**i, strides=strides, conv=conv, norm=norm)(x)
        x = jnp.mean(x, axis=(1, 2))
        return nn.Dense(self.classes)(x)


class SeparableBlock(nn.Module):
    """A depthwise and a pointwise convolution."""

    features: int
    strides: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        channels = x.shape[-1]
        x = nn.Conv(channels, (3, 3), self.strides, feature_group_count=channels, use_bias=False, name="depthwise")(x)
        x = nn.relu6(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        x = nn.Conv(self.features, (1, 1), use_bias=False, name="pointwise")(x)
        return nn.relu6(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))


class MobileNet(nn.Module):
    """A stem and separable blocks."""

    classes: int = 10
    blocks: Sequence[tuple[int, int]] = ((16, 1), (32, 2), (32, 1))

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = True) -> jax.Array:
        x = nn.Conv(8, (3, 3), 2, use_bias=False)(x)
        x = nn.relu6(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        for features, strides in self.blocks:
            x = SeparableBlock(features, strides)(x, train)
        x = nn.avg_pool(x, x.shape[1:3])
        x = x.reshape((x.shape[0], -1))
        x = nn.Dropout(0.1, deterministic=not train)(x)
        return nn.Dense(self.classes)(x)
