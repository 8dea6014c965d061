"""Networks of sequences, and of images as sequences, small."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

Array = jax.Array


class Attention(nn.Module):
    """Attention and feed-forward with gelu, each behind a LayerNorm."""

    width: int
    heads: int = 2

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = x + nn.MultiHeadDotProductAttention(num_heads=self.heads)(nn.LayerNorm(epsilon=1e-5)(x))
        y = nn.gelu(nn.Dense(2 * self.width)(nn.LayerNorm(epsilon=1e-5)(x)))
        return x + nn.Dense(self.width)(y)


class Encoder(nn.Module):
    """Tokens of features, two blocks."""

    width: int = 16

    @nn.compact
    def __call__(self, x: Array, train: bool = True) -> Array:
        del train
        x = nn.Dense(self.width)(x)
        x = x + self.param("positions", nn.initializers.normal(0.5), (1, x.shape[1], self.width))
        for _ in range(2):
            x = Attention(self.width)(x)
        return nn.Dense(10)(jnp.mean(nn.LayerNorm(epsilon=1e-5)(x), axis=1))


class VisionTransformer(nn.Module):
    """Patches of 8 x 8, a class token, one block."""

    width: int = 16

    @nn.compact
    def __call__(self, x: Array, train: bool = True) -> Array:
        del train
        x = nn.Conv(self.width, (8, 8), (8, 8), padding="VALID")(x)
        x = x.reshape(x.shape[0], -1, self.width)
        token = self.param("token", nn.initializers.normal(0.5), (1, 1, self.width))
        x = jnp.concatenate([jnp.broadcast_to(token, (x.shape[0], 1, self.width)), x], axis=1)
        x = x + self.param("positions", nn.initializers.normal(0.5), (1, x.shape[1], self.width))
        x = Attention(self.width)(x)
        return nn.Dense(10)(nn.LayerNorm(epsilon=1e-5)(x)[:, 0])


class Keywords(nn.Module):
    """A convolution over time, a recurrent layer, and a head on its last state.

    Attributes:
      cell: ``gru`` or ``lstm``.
      both: the layer runs in both directions, and the head reads the mean over time.
    """

    cell: str
    both: bool = False

    @nn.compact
    def __call__(self, x: Array, train: bool = True) -> Array:
        x = nn.Conv(12, (3,), 2, use_bias=False)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        cell = nn.GRUCell if self.cell == "gru" else nn.OptimizedLSTMCell
        if self.both:
            x = nn.Bidirectional(nn.RNN(cell(16)), nn.RNN(cell(16)))(x)
            return nn.Dense(4)(jnp.mean(x, axis=1))
        return nn.Dense(4)(nn.RNN(cell(16))(x)[:, -1])


class GatedConvolutions(nn.Module):
    """Causal convolutions whose results gate one another, with shortcuts."""

    @nn.compact
    def __call__(self, x: Array, train: bool = True) -> Array:
        del train
        x = nn.Conv(12, (1,))(x)
        for dilation in (1, 2):
            window = {"kernel_size": (2,), "kernel_dilation": dilation, "padding": "CAUSAL"}
            gated = jnp.tanh(nn.Conv(12, **window)(x)) * nn.sigmoid(nn.Conv(12, **window)(x))
            x = x + nn.Conv(12, (1,))(gated)
        return nn.Dense(4)(x[:, -1])
