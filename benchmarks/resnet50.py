"""ResNet-50 (He et al. 2016) as its users write it in Flax: 25.6 million parameters."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
from flax import linen as nn


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut, projected where the shape changes."""

    filters: int
    conv: Any
    norm: Any
    strides: tuple[int, int] = (1, 1)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = nn.relu(self.norm()(self.conv(self.filters, (1, 1))(x)))
        y = nn.relu(self.norm()(self.conv(self.filters, (3, 3), self.strides, padding=1)(y)))
        y = self.norm()(self.conv(4 * self.filters, (1, 1))(y))
        if x.shape != y.shape:
            x = self.norm(name="norm_proj")(self.conv(4 * self.filters, (1, 1), self.strides, name="conv_proj")(x))
        return nn.relu(x + y)


class ResNet50(nn.Module):
    """Four stages of three, four, six and three blocks."""

    classes: int = 1000
    stages: Sequence[int] = (3, 4, 6, 3)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        conv = partial(nn.Conv, use_bias=False)
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, epsilon=1e-5)
        x = nn.relu(norm(name="bn_init")(conv(64, (7, 7), (2, 2), padding=3, name="conv_init")(x)))
        x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for stage, blocks in enumerate(self.stages):
            for block in range(blocks):
                strides = (2, 2) if stage > 0 and block == 0 else (1, 1)
                x = Bottleneck(64 * 2**stage, conv=conv, norm=norm, strides=strides)(x)
        return nn.Dense(self.classes)(x.mean((1, 2)))
