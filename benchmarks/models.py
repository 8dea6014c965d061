"""The benchmark's models, as plain Flax modules, each with its batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn


class CNN(nn.Module):
    """Three convolutions, each with ReLU and a 2x2 max pool, then two dense layers."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        del train
        for features in (32, 64, 64):
            x = nn.relu(nn.Conv(features, (3, 3))(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(nn.Dense(128)(x))
        return nn.Dense(10)(x)


class MLP(nn.Module):
    """Three dense layers."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        del train
        for features in (512, 256):
            x = nn.relu(nn.Dense(features)(x))
        return nn.Dense(10)(x)


class Residual(nn.Module):
    """A convolution, one residual block with BatchNorm, the mean over space and a dense layer."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = nn.relu(nn.Conv(32, (3, 3))(x))
        y = nn.Conv(32, (3, 3), use_bias=False)(x)
        y = nn.relu(nn.BatchNorm(use_running_average=not train)(y))
        y = nn.Conv(32, (3, 3), use_bias=False)(y)
        y = nn.BatchNorm(use_running_average=not train)(y)
        x = nn.relu(x + y)
        return nn.Dense(10)(x.mean((1, 2)))


class NormalizedMLP(nn.Module):
    """Three dense layers, each but the last with LayerNorm and ReLU."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        del train
        for features in (512, 256):
            x = nn.relu(nn.LayerNorm(epsilon=1e-5)(nn.Dense(features)(x)))
        return nn.Dense(10)(x)


class Attention(nn.Module):
    """A transformer block: attention and a two-layer perceptron, LayerNorm before each, then the mean over time."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        del train
        x = nn.Dense(x.shape[-1])(x)
        x = x + nn.MultiHeadDotProductAttention(num_heads=4)(nn.LayerNorm(epsilon=1e-5)(x))
        y = nn.Dense(4 * x.shape[-1])(nn.LayerNorm(epsilon=1e-5)(x))
        x = x + nn.Dense(x.shape[-1])(nn.gelu(y))
        return nn.Dense(10)(x.mean(1))


class Recurrent(nn.Module):
    """One recurrent layer of 64 units and a dense layer on its last step."""

    cell: Callable[[int], Any]

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        del train
        x = nn.RNN(self.cell(64))(x)
        return nn.Dense(10)(x[:, -1])


def lstm() -> nn.Module:
    """An LSTM."""
    return Recurrent(nn.OptimizedLSTMCell)


def gru() -> nn.Module:
    """A GRU."""
    return Recurrent(nn.GRUCell)


@dataclass(frozen=True)
class Task:
    """A model and the shape of its input; labels are 0 to 9."""

    model: Callable[[], nn.Module]
    input: tuple[int, ...]

    def batch(self) -> tuple[jax.Array, jax.Array]:
        """Random inputs, float32, and labels, int32 [N]."""
        random = np.random.default_rng(0)
        labels = random.integers(0, 10, self.input[0])
        return jnp.asarray(random.normal(size=self.input), jnp.float32), jnp.asarray(labels, jnp.int32)


TASKS = {
    "cnn": Task(CNN, (64, 32, 32, 3)),
    "mlp": Task(MLP, (128, 784)),
    "residual": Task(Residual, (32, 32, 32, 3)),
    "layernorm": Task(NormalizedMLP, (128, 784)),
    "attention": Task(Attention, (32, 64, 128)),
    "lstm": Task(lstm, (32, 100, 40)),
    "gru": Task(gru, (32, 100, 40)),
}
