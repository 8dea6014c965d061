"""Four small networks, with their data: convolutions, a residual net, a recurrent one and attention."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from tests.models import ResidualCnn

CLASSES = 3
BATCH = 16


class Cnn(nn.Module):
    """A convolution with its normalization, a pooling, a depthwise convolution, a head."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        x = nn.Conv(8, (3, 3), use_bias=False)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train)(x))
        x = nn.max_pool(x, (2, 2), (2, 2))
        x = nn.relu(nn.Conv(8, (3, 3), feature_group_count=8)(x))
        return nn.Dense(CLASSES)(x.reshape(len(x), -1))


class Lstm(nn.Module):
    """A sequence, its last output, a head."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        x = nn.RNN(nn.LSTMCell(8))(x)
        return nn.Dense(CLASSES)(x[:, -1])


class Attention(nn.Module):
    """One block of attention over a projection, added to it, and a head."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        x = nn.Dense(16)(x)
        y = nn.LayerNorm(epsilon=1e-5)(x)
        x = x + nn.MultiHeadDotProductAttention(num_heads=2)(y)
        return nn.Dense(CLASSES)(x.mean(axis=1))


@dataclasses.dataclass(frozen=True)
class Network:
    """A model and how it is called.

    Attributes:
      model: the float model.
      shape: of one sample.
      config: what it needs of a configuration.
    """

    model: nn.Module
    shape: tuple[int, ...]
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def batch(self, number: int) -> np.ndarray:
        """A batch that its number decides."""
        return np.random.default_rng(number).standard_normal((BATCH, *self.shape), np.float32)

    def labels(self, number: int) -> np.ndarray:
        return np.random.default_rng(1000 + number).integers(0, CLASSES, BATCH, np.int32)


NETWORKS: Mapping[str, Network] = {
    "cnn": Network(Cnn(), (8, 8, 4)),
    "residual": Network(ResidualCnn(blocks=1, dropout=0.25), (8, 8, 4)),
    "lstm": Network(Lstm(), (6, 8), {"platform": "arcs"}),
    "attention": Network(Attention(), (6, 8)),
}
METHODS: Mapping[str, Mapping[str, Any]] = {name: {"quant_info": {"qat_method": name}} for name in ("MOM", "TQT")}
