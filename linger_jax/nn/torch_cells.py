"""Recurrent cells that hold their parameters as ``torch.nn.LSTM`` and ``torch.nn.GRU`` do, for ``nn.RNN``.

Flax's own cells keep one kernel a gate and one bias where PyTorch has two; a network that comes from PyTorch, or is
going to be compared with one, is easier kept in PyTorch's form. ``nn.RNN`` and ``nn.Bidirectional`` take these cells as
they take Flax's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.recurrent import RNNCellBase

Array = jax.Array
Initializer = Callable[..., Any]


def _matrices(cell: TorchLSTMCell | TorchGRUCell, gates: int, inputs: int) -> tuple[Array, Array, Array, Array]:
    """The two matrices and the two biases (zeros without bias), declared in the cell that is being called."""
    wide, bound = gates * cell.features, 1.0 / math.sqrt(cell.features)

    def uniform(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    weight_ih = cell.param("weight_ih", cell.kernel_init or uniform, (inputs, wide), jnp.float32)
    weight_hh = cell.param("weight_hh", cell.recurrent_kernel_init or uniform, (cell.features, wide), jnp.float32)
    if not cell.use_bias:
        zeros = jnp.zeros((wide,), jnp.float32)
        return weight_ih, weight_hh, zeros, zeros
    bias_ih = cell.param("bias_ih", cell.bias_init or uniform, (wide,), jnp.float32)
    bias_hh = cell.param("bias_hh", cell.bias_init or uniform, (wide,), jnp.float32)
    return weight_ih, weight_hh, bias_ih, bias_hh


class TorchLSTMCell(RNNCellBase):
    """LSTM cell with the parameters of ``torch.nn.LSTM``.

    Gates stand in PyTorch's order i, f, g, o along the last axis. Parameters, float32, drawn uniformly from
    +-1/sqrt(features): ``weight_ih`` [in, 4 features], ``weight_hh`` [features, 4 features] (PyTorch's, transposed),
    ``bias_ih`` and ``bias_hh`` [4 features].

        i, f, g, o = split(x @ weight_ih + bias_ih + h @ weight_hh + bias_hh)
        c' = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h' = sigmoid(o) * tanh(c')

    Attributes:
      features: size of the hidden state.
      use_bias: whether there are biases.
      kernel_init, recurrent_kernel_init, bias_init: initializers in the place of PyTorch's.
    """

    features: int
    use_bias: bool = True
    kernel_init: Initializer | None = None
    recurrent_kernel_init: Initializer | None = None
    bias_init: Initializer | None = None

    @nn.compact
    def __call__(self, carry: tuple[Array, Array], inputs: Array) -> tuple[tuple[Array, Array], Array]:
        """One step.

        Args:
          carry: ``(c, h)``, each [..., features], in the order of Flax's own cells.
          inputs: float32 [..., in].

        Returns:
          The new carry, and the new h.
        """
        c, h = carry
        weight_ih, weight_hh, bias_ih, bias_hh = _matrices(self, 4, inputs.shape[-1])
        i, f, g, o = jnp.split(_affine(inputs, weight_ih, bias_ih) + _affine(h, weight_hh, bias_hh), 4, axis=-1)
        c = nn.sigmoid(f) * c + nn.sigmoid(i) * nn.tanh(g)
        h = nn.sigmoid(o) * nn.tanh(c)
        return (c, h), h

    @nn.nowrap
    def initialize_carry(self, rng: Array, input_shape: tuple[int, ...]) -> tuple[Array, Array]:
        """Zeros for a batch of inputs of this shape: ``(c, h)``."""
        zeros = jnp.zeros((*input_shape[:-1], self.features), jnp.float32)
        return zeros, zeros

    @property
    def num_feature_axes(self) -> int:
        """Feature axes of an input."""
        return 1


class TorchGRUCell(RNNCellBase):
    """GRU cell with the parameters of ``torch.nn.GRU``.

    Gates stand in PyTorch's order r, z, n along the last axis. Parameters, float32, drawn uniformly from
    +-1/sqrt(features): ``weight_ih`` [in, 3 features], ``weight_hh`` [features, 3 features] (PyTorch's, transposed),
    ``bias_ih`` and ``bias_hh`` [3 features].

        r, z = sigmoid(x @ weight_ih[r, z] + bias_ih[r, z] + h @ weight_hh[r, z] + bias_hh[r, z])
        n = tanh(x @ weight_ih[n] + bias_ih[n] + r * (h @ weight_hh[n] + bias_hh[n]))
        h' = (1 - z) * n + z * h

    Attributes:
      features: size of the hidden state.
      use_bias: whether there are biases.
      kernel_init, recurrent_kernel_init, bias_init: initializers in the place of PyTorch's.
    """

    features: int
    use_bias: bool = True
    kernel_init: Initializer | None = None
    recurrent_kernel_init: Initializer | None = None
    bias_init: Initializer | None = None

    @nn.compact
    def __call__(self, carry: Array, inputs: Array) -> tuple[Array, Array]:
        """One step.

        Args:
          carry: h, [..., features].
          inputs: float32 [..., in].

        Returns:
          The new h, twice.
        """
        h = carry
        weight_ih, weight_hh, bias_ih, bias_hh = _matrices(self, 3, inputs.shape[-1])
        r_i, z_i, n_i = jnp.split(_affine(inputs, weight_ih, bias_ih), 3, axis=-1)
        r_h, z_h, n_h = jnp.split(_affine(h, weight_hh, bias_hh), 3, axis=-1)
        z = nn.sigmoid(z_i + z_h)
        n = nn.tanh(n_i + nn.sigmoid(r_i + r_h) * n_h)
        h = (1.0 - z) * n + z * h
        return h, h

    @nn.nowrap
    def initialize_carry(self, rng: Array, input_shape: tuple[int, ...]) -> Array:
        """Zeros for a batch of inputs of this shape."""
        return jnp.zeros((*input_shape[:-1], self.features), jnp.float32)

    @property
    def num_feature_axes(self) -> int:
        """Feature axes of an input."""
        return 1


def _affine(x: Array, weight: Array, bias: Array) -> Array:
    y = jnp.dot(x, weight)
    return y + bias.reshape((1,) * (y.ndim - 1) + (-1,))
