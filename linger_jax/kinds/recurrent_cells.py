"""The recurrent cells that the chips know."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

from linger_jax.kinds import onnx_operators as ops
from linger_jax.kinds.onnx_operator import OnnxOperator

CellKind = Literal["lstm", "gru"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecurrentCell:
    """One recurrent cell.

    Attributes:
      name: which computation it is.
      gates: letters that name its gates in Flax's cells, in PyTorch's order.
      states: what it carries from step to step, the hidden state first, as PyTorch and a file return it.
      node: its node in a file.
    """

    name: CellKind
    gates: str
    states: tuple[str, ...]
    node: OnnxOperator

    @property
    def carry(self) -> tuple[str, ...]:
        """Its states in the order of Flax's carries: the hidden state last."""
        return tuple(reversed(self.states))


LSTM_CELL = RecurrentCell(name="lstm", gates="ifgo", states=("h", "c"), node=ops.QLSTM)
GRU_CELL = RecurrentCell(name="gru", gates="rzn", states=("h",), node=ops.QGRU)
CELLS = (LSTM_CELL, GRU_CELL)

GATE_LETTERS: Mapping[str, str] = {cell.name: cell.gates for cell in CELLS}
GATES: Mapping[str, int] = {cell.name: len(cell.gates) for cell in CELLS}
