"""The weights of a recurrent layer as one matrix or one bias each, whatever layout the cell's parameters have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from linger_jax.interpret.context import Array
from linger_jax.kinds import GATE_LETTERS, CellKind
from linger_jax.plan.decide import weight_pieces
from linger_jax.typing import Path


def joined_weight(
    kind: CellKind, weight: str, direction: int, roles: Mapping[Path, Any], features: int
) -> Array | None:
    """One weight of a direction, gates side by side in PyTorch's order; None where the cell has nothing of it.

    Args:
      kind: of the layer.
      weight: ``weight_ih``, ``weight_hh``, ``bias_ih`` or ``bias_hh``.
      direction: 0 forward, 1 reverse.
      roles: the layer's operands by role.
      features: size of the hidden state; a gate without a bias beside gates that have one gets zeros.

    Returns:
      float32 [in, gates * features] or [gates * features].
    """
    pieces = weight_pieces(kind, weight, direction, roles)
    zeros = jnp.zeros((features,), jnp.float32)
    values = [zeros if role is None else roles[role] for role in pieces]
    return (values[0] if len(values) == 1 else jnp.concatenate(values, axis=-1)) if values else None


def split_into_pieces(
    kind: CellKind, weight: str, direction: int, roles: Mapping[Path, Any], whole: Array
) -> dict[Path, Array]:
    """The inverse of ``joined_weight``: a weight's pieces by role."""
    pieces = weight_pieces(kind, weight, direction, roles)
    parts = [whole] if len(pieces) == 1 else jnp.split(whole, len(GATE_LETTERS[kind]), axis=-1)
    return {role: part for role, part in zip(pieces, parts, strict=True) if role is not None}
