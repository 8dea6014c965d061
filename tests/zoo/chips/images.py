"""Networks of images, small."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

Array = jax.Array
Activation = Callable[[Array], Array]


class ConvNorm(nn.Module):
    """A convolution, a normalization and a function."""

    features: int
    kernel: int = 3
    stride: int = 1
    groups: int = 1
    act: Activation | None = nn.relu

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        window, pad = (self.kernel, self.kernel), (self.kernel - 1) // 2
        x = nn.Conv(
            *(self.features, window, (self.stride, self.stride)),
            padding=[(pad, pad), (pad, pad)],
            feature_group_count=self.groups,
            use_bias=False,
        )(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        return x if self.act is None else self.act(x)


class Residual(nn.Module):
    """Two convolutions and a shortcut, a convolution of one point where the shape changes."""

    features: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        y = ConvNorm(self.features, 3, self.stride)(x, train)
        y = ConvNorm(self.features, 3, act=None)(y, train)
        if x.shape != y.shape:
            x = ConvNorm(self.features, 1, self.stride, act=None)(x, train)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """As ResNet-18: a stem of 7x7 with stride 2, a maximum pool, stages of two blocks."""

    features: Sequence[int] = (8, 16, 24, 32)

    @nn.compact
    def __call__(self, x: Array, train: bool = True) -> Array:
        x = ConvNorm(self.features[0], 7, 2)(x, train)
        x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for i, features in enumerate(self.features):
            x = Residual(features, 2 if i else 1)(x, train)
            x = Residual(features)(x, train)
        return nn.Dense(10)(jnp.mean(x, axis=(1, 2)))


class SqueezeExcite(nn.Module):
    """Channels weighted by a function of their means."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        channels = x.shape[-1]
        y = jnp.mean(x, axis=(1, 2), keepdims=True)
        y = nn.relu(nn.Conv(max(4, channels // 4), (1, 1))(y))
        return x * nn.hard_sigmoid(nn.Conv(channels, (1, 1))(y))


class Inverted(nn.Module):
    """An inverted residual of MobileNetV2 or, with squeeze and excitation, of V3."""

    features: int
    stride: int = 1
    act: Activation = nn.relu6
    excites: bool = False

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        wide = 3 * x.shape[-1]
        y = ConvNorm(wide, 1, act=self.act)(x, train)
        y = ConvNorm(wide, 3, self.stride, wide, act=self.act)(y, train)
        y = SqueezeExcite()(y) if self.excites else y
        y = ConvNorm(self.features, 1, act=None)(y, train)
        return x + y if x.shape == y.shape else y


class MobileNetV2(nn.Module):
    """A stem and inverted residuals with relu6."""

    @nn.compact
    def __call__(self, x: Array, train: bool = True) -> Array:
        x = ConvNorm(8, 3, 2, act=nn.relu6)(x, train)
        for features, stride in ((8, 1), (16, 2), (16, 1), (24, 2)):
            x = Inverted(features, stride)(x, train)
        x = ConvNorm(32, 1, act=nn.relu6)(x, train)
        return nn.Dense(10)(jnp.mean(x, axis=(1, 2)))


class MobileNetV3(nn.Module):
    """Inverted residuals with squeeze and excitation, and hard-swish."""

    @nn.compact
    def __call__(self, x: Array, train: bool = True) -> Array:
        x = ConvNorm(8, 3, 2, act=nn.hard_swish)(x, train)
        x = Inverted(8, act=nn.relu, excites=True)(x, train)
        x = Inverted(16, 2, act=nn.hard_swish, excites=True)(x, train)
        x = Inverted(16, act=nn.hard_swish, excites=True)(x, train)
        return nn.Dense(10)(jnp.mean(x, axis=(1, 2)))


class UNet(nn.Module):
    """Down, up, and across."""

    @nn.compact
    def __call__(self, x: Array, train: bool = True) -> Array:
        first = ConvNorm(8)(x, train)
        second = ConvNorm(16)(nn.max_pool(first, (2, 2), strides=(2, 2)), train)
        third = ConvNorm(24)(nn.max_pool(second, (2, 2), strides=(2, 2)), train)
        for features, across in ((16, second), (8, first)):
            up = nn.ConvTranspose(features, (2, 2), (2, 2))(third)
            third = ConvNorm(features)(jnp.concatenate([across, up], axis=-1), train)
        return nn.Conv(3, (1, 1))(third)
