"""What a recurrent layer is called with: checks, the initial state, the rows that each step moves."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp

from linger_jax.errors import LingerError
from linger_jax.interpret.context import Array, Value, plain
from linger_jax.interpret.recurrent.cell_weights import DirectionWeights
from linger_jax.kinds import GATES, CellKind
from linger_jax.typing import Path

InitialState = tuple[Array, ...]
"""Hidden state [B, H], and the cell [B, H] of an LSTM; float32."""
Initial = Sequence[InitialState | Array]

_RANK = 3


def active_rows(steps: int, lengths: Array) -> Array:
    """bool [T, B]: whether a row has an element at a step."""
    return jnp.arange(steps, dtype=jnp.int32)[:, None] < lengths.astype(jnp.int32)[None, :]


def checked(
    kind: CellKind,
    state_path: Path,
    x: Value,
    directions: Sequence[DirectionWeights],
    initial: Initial | None,
    lengths: Array | None,
) -> list[InitialState]:
    """The initial state of each direction, zeros where none is given.

    Raises:
      LingerError: what does not fit, with the layer's name.
    """
    label = ".".join(state_path) or "<root>"
    shape = tuple(plain(x).shape)
    if len(shape) != _RANK or 0 in shape:
        raise LingerError(f"{label}: got an input of shape {shape}; expected [steps, rows, features], none of them 0")
    if len(directions) not in (1, 2):
        raise LingerError(f"{label}: a recurrent layer has one or two directions, not {len(directions)}")
    rows, width = shape[1], directions[0].weight_hh.shape[0]
    for weights in directions:
        columns = GATES[kind] * width
        wanted: dict[str, tuple[int, ...]] = {"weight_ih": (shape[2], columns), "weight_hh": (width, columns)}
        wanted |= {"bias_ih": (columns,), "bias_hh": (columns,)}
        for name, expected in wanted.items():
            parameter = getattr(weights, name)
            if parameter is not None and tuple(parameter.shape) != expected:
                raise LingerError(
                    f"{label}: {name} has shape {tuple(parameter.shape)}; expected {expected} for {shape[2]} features "
                    f"and {width} units of a {kind}"
                )
    if lengths is not None and tuple(lengths.shape) != (rows,):
        raise LingerError(f"{label}: lengths has shape {tuple(lengths.shape)}; expected one number a row, {(rows,)}")
    arrays = 2 if kind == "lstm" else 1
    if initial is None:
        return [(jnp.zeros((rows, width), jnp.float32),) * arrays] * len(directions)
    states = [state if isinstance(state, tuple) else (state,) for state in initial]
    fits = len(states) == len(directions) and all(len(state) == arrays for state in states)
    if not fits or any(tuple(a.shape) != (rows, width) for state in states for a in state):
        found = [[tuple(a.shape) for a in state] for state in states]
        raise LingerError(
            f"{label}: the initial state has shapes {found}; expected {arrays} of {(rows, width)} for each of "
            f"{len(directions)} directions"
        )
    return states
