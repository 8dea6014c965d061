"""The recurrent cells that the chips know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

CellKind = Literal["lstm", "gru"]

RECURRENT_KINDS: tuple[CellKind, ...] = ("lstm", "gru")

GATE_LETTERS: Mapping[str, str] = {"lstm": "ifgo", "gru": "rzn"}
"""Gates of a cell in PyTorch's order, by the letters that name them in Flax's cells."""

GATES: Mapping[str, int] = {kind: len(letters) for kind, letters in GATE_LETTERS.items()}
