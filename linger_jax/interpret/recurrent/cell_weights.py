"""The parameters of one direction, in PyTorch's gate order whatever layer they come from."""

from __future__ import annotations

import dataclasses

import jax

from linger_jax.interpret.context import Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DirectionWeights:
    """float32; I inputs, H units, G gates: i, f, g, o of the LSTM, r, z, n of the GRU.

    Attributes:
      weight_ih: [I, G*H].
      weight_hh: [H, G*H].
      bias_ih, bias_hh: [G*H], or None for none.
    """

    weight_ih: Array
    weight_hh: Array
    bias_ih: Array | None = None
    bias_hh: Array | None = None
