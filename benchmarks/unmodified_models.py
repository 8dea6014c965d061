"""Ten models as their users write them, without quantization in mind. Each is called ``(x, train=...)``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

Array = jax.Array


class MnistCnn(nn.Module):
    """The convolutional network of Flax's first example."""

    @nn.compact
    def __call__(self, x: Array, train: bool = True) -> Array:
        for features in (32, 64):
            x = nn.avg_pool(nn.relu(nn.Conv(features, (3, 3))(x)), (2, 2), (2, 2))
        x = x.reshape((x.shape[0], -1))
        return nn.Dense(10)(nn.relu(nn.Dense(256)(x)))


class Vgg(nn.Module):
    """Pairs of 3x3 convolutions with BatchNorm (Simonyan and Zisserman 2014)."""

    @nn.compact
    def __call__(self, x: Array, train: bool = True) -> Array:
        for features in (16, 32, 64):
            for _ in range(2):
                x = nn.Conv(features, (3, 3), use_bias=False)(x)
                x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
        x = nn.Dropout(0.2, deterministic=not train)(x.reshape((x.shape[0], -1)))
        return nn.Dense(10)(x)


class PreActivationNet(nn.Module):
    """A residual network whose norms stand before the convolutions (He et al. 2016)."""

    @nn.compact
    def __call__(self, x: Array, train: bool = True) -> Array:
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9)
        x = nn.Conv(16, (3, 3), use_bias=False)(x)
        for features, stride in ((16, 1), (32, 2), (32, 1)):
            y = nn.relu(norm()(x))
            shortcut = x if x.shape[-1] == features else nn.Conv(features, (1, 1), stride, use_bias=False)(y)
            y = nn.Conv(features, (3, 3), stride, use_bias=False)(y)
            y = nn.Conv(features, (3, 3), use_bias=False)(nn.relu(norm()(y)))
            x = shortcut + y
        return nn.Dense(10)(jnp.mean(nn.relu(norm()(x)), axis=(1, 2)))


class InvertedResiduals(nn.Module):
    """MobileNetV2's blocks: widen, depthwise, narrow without activation (Sandler et al. 2018)."""

    @nn.compact
    def __call__(self, x: Array, train: bool = True) -> Array:
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9)
        x = nn.relu6(norm()(nn.Conv(16, (3, 3), 2, use_bias=False)(x)))
        for features, stride in ((16, 1), (24, 2), (24, 1)):
            inner = 4 * x.shape[-1]
            y = nn.relu6(norm()(nn.Conv(inner, (1, 1), use_bias=False)(x)))
            y = nn.Conv(inner, (3, 3), stride, feature_group_count=inner, use_bias=False)(y)
            y = norm()(nn.Conv(features, (1, 1), use_bias=False)(nn.relu6(norm()(y))))
            x = x + y if x.shape == y.shape else y
        return nn.Dense(10)(jnp.mean(x, axis=(1, 2)))


class SqueezeNet(nn.Module):
    """Fire modules: squeeze, then two widths side by side (Iandola et al. 2016)."""

    @nn.compact
    def __call__(self, x: Array, train: bool = True) -> Array:
        x = nn.relu(nn.Conv(16, (3, 3))(x))
        for squeeze, expand in ((8, 16), (8, 32)):
            x = nn.relu(nn.Conv(squeeze, (1, 1))(nn.max_pool(x, (2, 2), (2, 2))))
            x = jnp.concatenate([nn.relu(nn.Conv(expand, (k, k))(x)) for k in (1, 3)], axis=-1)
        return jnp.mean(nn.Conv(10, (1, 1))(x), axis=(1, 2))


class DenseNet(nn.Module):
    """Every layer sees the results of all before it (Huang et al. 2017)."""

    @nn.compact
    def __call__(self, x: Array, train: bool = True) -> Array:
        x = nn.Conv(16, (3, 3))(x)
        for block in range(2):
            for _ in range(3):
                y = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
                x = jnp.concatenate([x, nn.Conv(8, (3, 3))(y)], axis=-1)
            if block == 0:
                x = nn.avg_pool(nn.Conv(24, (1, 1))(x), (2, 2), (2, 2))
        return nn.Dense(10)(jnp.mean(nn.relu(x), axis=(1, 2)))


class UNet(nn.Module):
    """Down, up, and bridges between (Ronneberger et al. 2015): an image from an image."""

    @nn.compact
    def __call__(self, x: Array, train: bool = True) -> Array:
        one = nn.relu(nn.Conv(16, (3, 3))(x))
        two = nn.relu(nn.Conv(32, (3, 3))(nn.max_pool(one, (2, 2), (2, 2))))
        three = nn.relu(nn.Conv(32, (3, 3))(nn.max_pool(two, (2, 2), (2, 2))))
        up = nn.ConvTranspose(32, (2, 2), (2, 2))(three)
        up = nn.relu(nn.Conv(32, (3, 3))(jnp.concatenate([up, two], axis=-1)))
        up = nn.ConvTranspose(16, (2, 2), (2, 2))(up)
        up = nn.relu(nn.Conv(16, (3, 3))(jnp.concatenate([up, one], axis=-1)))
        return nn.Conv(1, (1, 1))(up)


class VisionTransformer(nn.Module):
    """Patches, attention, perceptrons (Dosovitskiy et al. 2020)."""

    @nn.compact
    def __call__(self, x: Array, train: bool = True) -> Array:
        x = nn.Conv(32, (4, 4), (4, 4), padding="VALID")(x)
        x = x.reshape((x.shape[0], -1, 32))
        x = x + self.param("positions", nn.initializers.normal(0.02), (1, x.shape[1], 32))
        for _ in range(2):
            x = x + nn.MultiHeadDotProductAttention(num_heads=4, deterministic=not train)(nn.LayerNorm()(x))
            x = x + nn.Dense(32)(nn.gelu(nn.Dense(64)(nn.LayerNorm()(x))))
        return nn.Dense(10)(jnp.mean(nn.LayerNorm()(x), axis=1))


class Mixer(nn.Module):
    """Perceptrons over places and over channels in turn (Tolstikhin et al. 2021)."""

    @nn.compact
    def __call__(self, x: Array, train: bool = True) -> Array:
        x = nn.Conv(32, (4, 4), (4, 4), padding="VALID")(x)
        x = x.reshape((x.shape[0], -1, 32))
        for _ in range(2):
            y = jnp.swapaxes(nn.LayerNorm()(x), 1, 2)
            y = nn.Dense(x.shape[1])(nn.gelu(nn.Dense(32)(y)))
            x = x + jnp.swapaxes(y, 1, 2)
            x = x + nn.Dense(32)(nn.gelu(nn.Dense(64)(nn.LayerNorm()(x))))
        return nn.Dense(10)(jnp.mean(x, axis=1))


class SeparableKeywordSpotter(nn.Module):
    """Depthwise separable convolutions over time (Zhang et al. 2017)."""

    @nn.compact
    def __call__(self, x: Array, train: bool = True) -> Array:
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9)
        x = nn.relu(norm()(nn.Conv(32, (5,))(x)))
        for _ in range(3):
            x = nn.relu(norm()(nn.Conv(32, (3,), feature_group_count=32)(x)))
            x = nn.relu(norm()(nn.Conv(32, (1,))(x)))
        return nn.Dense(10)(jnp.mean(x, axis=1))


MODELS: dict[str, tuple[Callable[[], nn.Module], Any]] = {
    "MNIST example": (MnistCnn, "images"),
    "VGG": (Vgg, "images"),
    "pre-activation ResNet": (PreActivationNet, "images"),
    "MobileNetV2": (InvertedResiduals, "images"),
    "SqueezeNet": (SqueezeNet, "images"),
    "DenseNet": (DenseNet, "images"),
    "U-Net": (UNet, "pictures"),
    "vision transformer": (VisionTransformer, "images"),
    "MLP-Mixer": (Mixer, "images"),
    "DS-CNN": (SeparableKeywordSpotter, "tones"),
}
"""Name -> model, and the data that it learns from."""
