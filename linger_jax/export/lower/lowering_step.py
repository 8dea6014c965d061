"""One step of the plan on its way to nodes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from linger_jax.errors import ExportError
from linger_jax.export.lower.emitter import Emitter
from linger_jax.export.lower.exported_values import ExportedValue, TensorValue
from linger_jax.kinds import Registry
from linger_jax.plan import Graph, Node
from linger_jax.plan.graph import WEIGHT_QUANTIZER
from linger_jax.typing import Path


@dataclasses.dataclass(frozen=True, eq=False)
class LoweringStep:
    """A node of the plan with its operands.

    Attributes:
      emit: where nodes go.
      graph: the region that the node stands in.
      node: the step.
      operands: its inputs.
      keeps_flat_order: every reader of the result can take an image that was flattened channels-first.
    """

    emit: Emitter
    graph: Graph
    node: Node
    operands: tuple[ExportedValue, ...]
    keeps_flat_order: bool = False

    def shape(self, result: int = 0) -> tuple[int, ...]:
        """Flax's shape of a result."""
        return self.graph.infos[self.node.outputs[result]].shape

    def tensor(self, position: int = 0) -> TensorValue:
        """An operand that a tensor holds."""
        value = self.operands[position]
        if not isinstance(value, TensorValue):
            raise self.error("its operand is a constant of the model; compute it before the model runs")
        return value

    def quantizer_path(self, *names: str) -> Path:
        """Path of one of the step's quantizers."""
        return self.node.quantizer_path(*names)

    @property
    def weight_quantizer_path(self) -> Path:
        """Path of a layer's weight quantizer; that of another layer where two share a parameter."""
        path: Path = self.node.attributes.get(WEIGHT_QUANTIZER) or self.quantizer_path("weight_quantizer")
        return path

    def by_role(self) -> dict[Path, ExportedValue]:
        """Operands of a layer by role."""
        return dict(zip(self.node.layer_info.operands, self.operands, strict=True))

    def quantized(self, position: int, *quantizer: str) -> TensorValue:
        """An operand as integers."""
        return self.emit.quantized(self.operands[position], self.quantizer_path(*quantizer), self.node)

    def error(self, text: str) -> ExportError:
        """An error that names the step."""
        return self.emit.error(self.node, text)


LoweringRule = Callable[[LoweringStep], Sequence[ExportedValue]]

lowers: Registry[LoweringRule] = Registry("lower")
"""The nodes of each kind of step."""
