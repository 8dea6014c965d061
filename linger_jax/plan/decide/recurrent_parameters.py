"""Which parameters of a cell make up a weight matrix of a recurrent layer, whatever layout the cell has.

A chip has one matrix for the input and one for the hidden state, gates side by side in PyTorch's order. Flax's cells
hold a kernel for each gate, and a bias where it is not redundant; ``linger_jax.nn.TorchLSTMCell`` and ``TorchGRUCell``
hold the matrices.
"""

from __future__ import annotations

from collections.abc import Collection

from linger_jax.kinds import GATE_LETTERS, CellKind
from linger_jax.typing import Path

_SIDES = {
    "weight_ih": ("i", "kernel"),
    "weight_hh": ("h", "kernel"),
    "bias_ih": ("i", "bias"),
    "bias_hh": ("h", "bias"),
}
WEIGHTS = tuple(_SIDES)
"""The weights of a direction: two matrices and two biases."""


def weight_pieces(kind: CellKind, weight: str, direction: int, operands: Collection[Path]) -> tuple[Path | None, ...]:
    """Roles of the operands that are a weight's pieces, to be joined along the last axis.

    Args:
      kind: of the layer.
      weight: ``weight_ih``, ``weight_hh``, ``bias_ih`` or ``bias_hh``.
      direction: 0 forward, 1 reverse.
      operands: roles of the layer's operands.

    Returns:
      One role for the whole, or one for each gate with None where the cell has no such bias; nothing where it has none
      at all.
    """
    above = ("params", str(direction))
    if (*above, "weight_ih") in operands:
        whole = (*above, weight)
        return (whole,) if whole in operands else ()
    side, leaf = _SIDES[weight]
    gates = [(*above, side + gate, leaf) for gate in GATE_LETTERS[kind]]
    return tuple(role if role in operands else None for role in gates) if set(gates) & set(operands) else ()
