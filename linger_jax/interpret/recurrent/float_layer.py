"""The float LSTM and GRU over time: what a calibration pass and a constrained layer compute."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from linger_jax.interpret.context import Array
from linger_jax.interpret.recurrent.cell_weights import DirectionWeights
from linger_jax.kinds import CellKind

State = tuple[Array, ...]


def float_direction(
    kind: CellKind, x: Array, weights: DirectionWeights, initial: State, active: Array | None, *, reverse: bool
) -> tuple[Array, State]:
    """One direction in float32, as PyTorch computes it.

    Args:
      kind: ``lstm`` or ``gru``.
      x: [T, B, I].
      weights: of the direction.
      initial: hidden state [B, H], and the cell of an LSTM.
      active: bool [T, B], rows that a step moves; None: all.
      reverse: from the last step to the first.

    Returns:
      Hidden states [T, B, H], zero where a row is not active, and the final state.
    """
    from_input = _plus(x @ weights.weight_ih, weights.bias_ih)
    cell = _lstm if kind == "lstm" else _gru

    def step(state: State, now: tuple[Array, Array | None]) -> tuple[State, Array]:
        from_input, moves = now
        new = cell(from_input, _plus(state[0] @ weights.weight_hh, weights.bias_hh), state)
        if moves is None:
            return new, new[0]
        new = tuple(jnp.where(moves, a, b) for a, b in zip(new, state, strict=True))
        return new, jnp.where(moves, new[0], jnp.zeros_like(new[0]))

    moves = None if active is None else active[..., None]
    last, hidden = lax.scan(step, initial, (from_input, moves), reverse=reverse)
    return hidden, last


def _lstm(from_input: Array, from_hidden: Array, state: State) -> State:
    i, f, g, o = jnp.split(from_input + from_hidden, 4, axis=-1)
    c = jax.nn.sigmoid(f) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def _gru(from_input: Array, from_hidden: Array, state: State) -> State:
    input_r, input_z, input_n = jnp.split(from_input, 3, axis=-1)
    hidden_r, hidden_z, hidden_n = jnp.split(from_hidden, 3, axis=-1)
    r, z = jax.nn.sigmoid(input_r + hidden_r), jax.nn.sigmoid(input_z + hidden_z)
    n = jnp.tanh(input_n + r * hidden_n)
    return (n + z * (state[0] - n),)


def _plus(product: Array, bias: Any) -> Array:
    return product if bias is None else product + bias.reshape((1,) * (product.ndim - 1) + bias.shape)
