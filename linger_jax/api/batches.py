"""Batches of data as the arguments of a call."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any

import jax


def arguments_of_batch(batch: Any) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Positional and keyword arguments: a tuple or a list holds the positional ones, a mapping those by name.

    Anything else, a list of numbers too, is the model's one input.
    """
    if isinstance(batch, Mapping):
        return (), batch
    is_one_input = not isinstance(batch, (tuple, list)) or (isinstance(batch, list) and _is_numbers(batch))
    return ((batch,), {}) if is_one_input else (tuple(batch), {})


def _is_numbers(batch: list[Any]) -> bool:
    """Whether a list is an array written out, in the place of one."""
    leaves = jax.tree.leaves(batch)
    return bool(leaves) and all(isinstance(leaf, numbers.Number) for leaf in leaves)
