"""The classifiers of the recorded step-by-step trajectories, written as a Flax user would write them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from linger_jax.nn import TorchGRUCell, TorchLSTMCell
from tests.golden.outcome import NotSupportedError

ACTIVATIONS: Mapping[str, Callable[[Any], Any]] = {
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "silu": jax.nn.silu,
    "tanh": jnp.tanh,
}

RECURRENT_CELLS: Mapping[str, Callable[..., Any]] = {"lstm": TorchLSTMCell, "gru": TorchGRUCell}
CELL, REVERSE_CELL = "_cell", "_reverse_cell"
"""Behind a recurrent layer's name: the names of its cells, which hold the parameters."""


class Attention(nn.Module):
    """One attention block and a linear head on its first position."""

    width: int
    classes: int
    activation: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.Dense(self.width, name="inp")(x)
        q, k, v = (nn.Dense(self.width, name=name)(x) for name in ("q", "k", "v"))
        scores = jax.nn.softmax(jnp.matmul(q, jnp.swapaxes(k, -2, -1)) * 0.5)
        attended = nn.Dense(self.width, name="o")(jnp.matmul(scores, v))
        x = nn.LayerNorm(epsilon=1e-5, name="ln1")(x + attended)
        hidden = ACTIVATIONS[self.activation](nn.Dense(2 * self.width, name="f1")(x))
        x = nn.LayerNorm(epsilon=1e-5, name="ln2")(x + nn.Dense(self.width, name="f2")(hidden))
        return nn.Dense(self.classes, name="head")(x[:, 0])


class Recurrent(nn.Module):
    """One recurrent layer and a linear layer on its last step; the cell's parameters stand beside the layer."""

    kind: str
    width: int
    classes: int
    bidirectional: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        names = (CELL, REVERSE_CELL) if self.bidirectional else (CELL,)
        cells = [RECURRENT_CELLS[self.kind](self.width, name=self.kind + name) for name in names]
        if self.bidirectional:
            x = nn.Bidirectional(*(nn.RNN(cell) for cell in cells), name=self.kind)(x)
        else:
            x = nn.RNN(cells[0], name=self.kind)(x)
        return nn.Dense(self.classes, name="fc")(x[:, -1])


def build_classifier(name: str, params: Mapping[str, np.ndarray]) -> nn.Module:
    """The classifier of a file with the widths of its parameters.

    Raises:
      NotSupportedError: another model.
    """
    kind, activation, *_ = name.split("_")
    if kind in RECURRENT_CELLS:
        width, classes = params[f"{kind}.weight_hh_l0"].shape[1], params["fc.weight"].shape[0]
        return Recurrent(kind, width, classes, f"{kind}.weight_hh_l0_reverse" in params)
    if kind != "attention" or activation not in ACTIVATIONS:
        raise NotSupportedError(f"model {name} is not covered yet")
    classes, width = params["head.weight"].shape
    return Attention(width, classes, activation)
