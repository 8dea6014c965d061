"""Sequence classifiers with recurrent layers."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp


class BiLstmClassifier(nn.Module):
    """A bidirectional LSTM, the mean of its outputs over time, a head."""

    classes: int = 10
    hidden: int = 16

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = True) -> jax.Array:
        x = nn.Bidirectional(nn.RNN(nn.LSTMCell(self.hidden)), nn.RNN(nn.LSTMCell(self.hidden)))(x)
        x = nn.Dropout(0.1, deterministic=not train)(x)
        return nn.Dense(self.classes)(jnp.mean(x, axis=1))


class GruKeywordSpotter(nn.Module):
    """A convolution over time, a GRU, and a head on its last output."""

    classes: int = 4
    hidden: int = 16

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = True) -> jax.Array:
        x = nn.Conv(12, (3,), 2)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        x = nn.RNN(nn.GRUCell(self.hidden))(x)
        return nn.Dense(self.classes)(x[:, -1])
