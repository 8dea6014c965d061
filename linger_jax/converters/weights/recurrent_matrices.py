"""Weights of LSTM and GRU: PyTorch's matrices with all gates below each other, and what Flax's cells hold of them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

import numpy as np

from linger_jax.converters.model import ModelLayer
from linger_jax.kinds import RecurrentCell
from linger_jax.typing import HostArray, Shape

# Names inside torch.nn.LSTM and GRU, of a layer and a direction.
_LEAF = re.compile(r"(?P<weight>(?:weight|bias)_(?:ih|hh))_l(?P<layer>\d+)(?P<reverse>_reverse)?")


@dataclasses.dataclass(frozen=True)
class RecurrentLeaf:
    """A key of a recurrent module.

    Attributes:
      name: without the number of the layer: ``weight_ih``, ``bias_hh_reverse``.
      layer: its number.
    """

    name: str
    layer: int


def recurrent_leaf(leaf: str) -> RecurrentLeaf | None:
    """What the last name of a key says, or None where it is none of a recurrent module."""
    found = _LEAF.fullmatch(leaf)
    return None if found is None else RecurrentLeaf(found["weight"] + (found["reverse"] or ""), int(found["layer"]))


def numbered(name: str, layer: int) -> str:
    """The inverse of ``recurrent_leaf``."""
    base = name.removesuffix("_reverse")
    return f"{base}_l{layer}" + ("_reverse" if name != base else "")


@dataclasses.dataclass(frozen=True)
class RecurrentPiece:
    """Which part of which tensor a variable of a cell is.

    Attributes:
      name: of the tensor (``weight_ih_reverse``).
      plus: of a second tensor that is added to it, where the cell has one bias for two.
      gate: position of the gate, or None for all of them.
    """

    name: str
    plus: str | None
    gate: int | None


def cell_of(layer: ModelLayer) -> RecurrentCell:
    """The cell of a recurrent layer."""
    return layer.kind.recurrent_cell


def recurrent_pieces(layer: ModelLayer) -> Mapping[str, RecurrentPiece]:
    """The pieces of a layer, by variable name: ``0.weight_ih``, or ``1.hf.kernel`` of Flax's own cells."""
    return {role: _piece(layer, role) for role in layer.variables}


def _piece(layer: ModelLayer, role: str) -> RecurrentPiece:
    direction, *rest = role.split(".")
    reverse = "_reverse" if direction == "1" else ""
    if len(rest) == 1:
        return RecurrentPiece(rest[0] + reverse, None, None)
    side, letter, leaf = rest[0][0], rest[0][1], rest[1]
    gate = cell_of(layer).gates.index(letter)
    if leaf == "kernel":
        return RecurrentPiece(f"weight_{side}h{reverse}", None, gate)
    other = f"{direction}.{'h' if side == 'i' else 'i'}{letter}.bias"
    plus = None if other in layer.variables else f"bias_{'h' if side == 'i' else 'i'}h{reverse}"
    return RecurrentPiece(f"bias_{side}h{reverse}", plus, gate)


def recurrent_sizes(layer: ModelLayer) -> tuple[int, int, int]:
    """Features of the input, of the hidden state, and directions of a layer."""
    pieces = recurrent_pieces(layer)
    directions = 2 if any(role.startswith("1.") for role in pieces) else 1
    inputs = next(v.shape[0] for role, v in layer.variables.items() if pieces[role].name == "weight_ih")
    hidden = next(v.shape[0] for role, v in layer.variables.items() if pieces[role].name == "weight_hh")
    return inputs, hidden, directions


def torch_shape(layer: ModelLayer, name: str) -> Shape:
    """Shape of a tensor of the layer in PyTorch."""
    inputs, hidden, _ = recurrent_sizes(layer)
    rows = len(cell_of(layer).gates) * hidden
    base = name.removesuffix("_reverse")
    return {"weight_ih": (rows, inputs), "weight_hh": (rows, hidden)}.get(base, (rows,))


def take_piece(piece: RecurrentPiece, tensor: HostArray, hidden: int, incoming: HostArray | None) -> HostArray:
    """The variable that a tensor holds: rows of its gate, transposed; ``incoming`` reorders the input's features."""
    rows = tensor if piece.gate is None else tensor[piece.gate * hidden : (piece.gate + 1) * hidden]
    if rows.ndim == 1:
        return rows
    if incoming is None or not piece.name.startswith("weight_ih"):
        return rows.T
    return np.take(rows.T, incoming, axis=0)


def in_words(piece: RecurrentPiece, cell: RecurrentCell, *, reordered: bool) -> str:
    """What is done to the tensor."""
    gate = "" if piece.gate is None else f"gate {cell.gates[piece.gate]}"
    steps = [gate, "[out, in] -> [in, out]" if piece.name.startswith("weight") else ""]
    steps.append("" if piece.plus is None else f"{piece.plus} added")
    steps.append("rows from (C, H, W) order" if reordered and piece.name.startswith("weight_ih") else "")
    return ", ".join(step for step in steps if step) or "as is"
