"""The recurrent cells that the chips know."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

from linger_jax.kinds import onnx_operators as ops
from linger_jax.kinds.onnx_operator import OnnxOperator
from linger_jax.typing import Shape

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


RECURRENT_WEIGHT = 2
"""Its place among the inputs of a node without an initial state."""


def is_executor_gru(operator: OnnxOperator | None, recurrent: Shape | None) -> bool:
    """Whether a node of a file is a GRU in the executor's arithmetic.

    Its matrices have the gates last, where linger's kernel has them first (docs/specification/executor.md section 5).

    Args:
      operator: of the node.
      recurrent: shape of its recurrent weight; None where it is not known.
    """
    if operator is not ops.QGRU or recurrent is None or len(recurrent) != 2:
        return False
    return recurrent[1] == GATES[GRU_CELL.name] * recurrent[0]
