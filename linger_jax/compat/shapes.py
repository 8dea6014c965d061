"""Structures and paddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jax import lax


def parts_of_tuple(tree: Any) -> list[Any]:
    """The structures of the entries, of the structure (``PyTreeDef``) of a tuple."""
    return list(tree.children())


def leaf_count(tree: Any) -> int:
    """How many leaves a structure has."""
    return int(tree.num_leaves)


def explicit_padding(
    padding: str, lengths: Sequence[int], window: Sequence[int], strides: Sequence[int]
) -> list[tuple[int, int]]:
    """Amounts before and behind each axis, of ``"SAME"`` or ``"VALID"``."""
    return [(int(low), int(high)) for low, high in lax.padtype_to_pads(lengths, window, strides, padding)]
