"""The same network written for Flax: channels last, its own names, nothing about quantization."""

from __future__ import annotations

import functools

import flax.linen as nn
import jax


class ResidualBlock(nn.Module):
    """``x + f(x)`` with two convolutions in f; a strided block projects x as well."""

    features: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[n, h, w, c] to [n, h / stride, w / stride, features]."""
        conv = functools.partial(nn.Conv, self.features, use_bias=False)
        norm = functools.partial(nn.BatchNorm, use_running_average=not train, momentum=0.9)
        y = conv((3, 3), self.stride, padding=1, name="conv_a")(x)
        y = nn.relu(norm(name="norm_a")(y))
        y = conv((3, 3), padding=1, name="conv_b")(y)
        y = norm(name="norm_b")(y)
        if x.shape != y.shape:
            x = norm(name="norm_skip")(conv((self.stride, self.stride), self.stride, padding=0, name="conv_skip")(x))
        return nn.relu(x + y)


class DigitClassifier(nn.Module):
    """Images [n, 8, 8, 1] to logits [n, 10]."""

    classes: int = 10

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """``train`` lets BatchNorm use the statistics of the batch."""
        x = nn.Conv(16, (3, 3), padding=1, use_bias=False, name="stem")(images)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9, name="norm")(x))
        x = ResidualBlock(16, name="block_1")(x, train)
        x = nn.max_pool(x, (2, 2), strides=(2, 2))
        x = ResidualBlock(32, stride=2, name="block_2")(x, train)
        x = x.mean(axis=(1, 2))
        return nn.Dense(self.classes, name="head")(x)
