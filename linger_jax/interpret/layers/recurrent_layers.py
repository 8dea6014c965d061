"""LSTM and GRU layers: from a Flax call to the exact computation and back (docs/specification/recurrent.md).

The computation works on [time, batch, features] with one weight matrix a side; here axes are moved, batch axes joined,
sequences reversed, and the parameters of whatever cell it was put side by side.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from linger_jax.config import GruForm
from linger_jax.interpret.context import Array, Context, Value, plain
from linger_jax.interpret.interpreter import interprets
from linger_jax.interpret.layers.operand_roles import by_role
from linger_jax.interpret.layers.recurrent_weights import joined_weight
from linger_jax.interpret.recurrent import DirectionWeights, recurrent_layer
from linger_jax.kinds import GRU, LSTM, CellKind, RecurrentCell
from linger_jax.plan import Node
from linger_jax.plan.decide import WEIGHTS
from linger_jax.plan.graph import GRU_FORM
from linger_jax.quantizers import QTensor
from linger_jax.staging import LENGTHS
from linger_jax.typing import Path


@interprets(LSTM, GRU)
def recurrent(ctx: Context, node: Node, operands: Sequence[Value]) -> list[Value]:
    """Rule of an ``nn.RNN`` or ``nn.Bidirectional``."""
    roles, a = by_role(node, operands), node.layer_info.attributes
    cell = node.layer_info.kind.recurrent_cell
    directions = range(a["directions"])
    x = roles["input", "0"]
    time = 0 if a["time_major"] else len(x.shape) - 2
    batch = tuple(size for axis, size in enumerate(x.shape[:-1]) if axis != time)
    x = _moved(x, lambda v: jnp.moveaxis(v, time, 0).reshape(v.shape[time], -1, v.shape[-1]))
    lengths = roles[LENGTHS].astype(jnp.int32).reshape(-1) if LENGTHS in roles else None
    if a["reverse"]:
        x = _moved(x, lambda v: reversed_in_time(v, lengths))
    outputs, finals = recurrent_layer(
        ctx,
        node.quantizer_path(),
        cell.name,
        x,
        tuple(_weights(cell.name, direction, roles, a["features"]) for direction in directions),
        tuple(_initial(roles, direction, cell, a["features"]) for direction in directions)
        if ("initial", "0", "h") in roles
        else None,
        lengths,
        node.attributes.get(GRU_FORM, GruForm.linger),
    )
    if a["reverse"] and a["keep_order"]:
        outputs = _moved(outputs, lambda v: reversed_in_time(v, lengths))
    outputs = _moved(outputs, lambda v: jnp.moveaxis(v.reshape(v.shape[0], *batch, v.shape[-1]), 0, time))
    results: dict[Path, Value] = {("output", "0"): outputs}
    for direction in directions:
        for name, state in zip(cell.states, finals[direction], strict=True):
            results["carry", str(direction), name] = state.reshape(*batch, a["features"])
    return [results[role] for role in node.layer_info.results]


def reversed_in_time(x: Array, lengths: Array | None) -> Array:
    """Each sequence backwards, what is after its end left in place.

    Args:
      x: [time, batch, features].
      lengths: int32 [batch], or None where all sequences fill the time.
    """
    if lengths is None:
        return jnp.flip(x, 0)
    steps = jnp.arange(x.shape[0], dtype=jnp.int32)[:, None]
    source = jnp.where(steps < lengths[None], lengths[None] - 1 - steps, steps)
    return jnp.take_along_axis(x, source[:, :, None], axis=0)


def _weights(kind: CellKind, direction: int, roles: Mapping[Path, Any], features: int) -> DirectionWeights:
    found = {weight: joined_weight(kind, weight, direction, roles, features) for weight in WEIGHTS}
    return DirectionWeights(**found)  # type: ignore[arg-type]  # the matrices are always there


def _initial(roles: Mapping[Path, Any], direction: int, cell: RecurrentCell, features: int) -> tuple[Array, ...]:
    return tuple(plain(roles["initial", str(direction), state]).reshape(-1, features) for state in cell.states)


def _moved(value: Value, move: Callable[[Array], Array]) -> Value:
    """The value with its elements moved; a QTensor stays one."""
    return dataclasses.replace(value, value=move(value.value)) if isinstance(value, QTensor) else move(value)
