"""A graph of what a file can hold of a plan: a step without a form in a file is left out, and noted.

What such a step reads leaves the graph there, and what it makes enters it, as if it were computed off the chip.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from linger_jax.errors import ExportError
from linger_jax.export.lower.emitter import place_in_code
from linger_jax.export.lower.evaluation_record import Record
from linger_jax.export.lower.exported_values import ExportedValue, Grid, TensorValue
from linger_jax.export.lower.lower_graph import GraphWalk, model_arguments
from linger_jax.export.onnx import OnnxGraph
from linger_jax.interpret import Place, place_of
from linger_jax.kinds import onnx_operators as ops
from linger_jax.plan import Graph, Node


@dataclasses.dataclass(frozen=True, eq=False)
class Draft:
    """What a file can hold of a plan, and why not the rest.

    Attributes:
      graph: the nodes; each says which step it was written for.
      steps: those that a file needs, by the value id of their first result.
      refused: those that have no form in a file, and why.
      outputs: why outputs cannot be those of a file.
    """

    graph: OnnxGraph
    steps: frozenset[int]
    refused: Mapping[int, str]
    outputs: tuple[str, ...]


def draft_graph(record: Record) -> Draft:
    """Writes the nodes of a plan as far as they have a form in a file."""
    walk = _DraftWalk(record)
    names = [f"input {i}" for i, _ in enumerate(model_arguments(record.plan.staged.arguments))]
    graph = walk.run(names, None)
    return Draft(graph, frozenset(walk.steps), walk.refused, tuple(walk.outputs))


class _DraftWalk(GraphWalk):
    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self.steps: set[int] = set()
        self.refused: dict[int, str] = {}
        self.outputs: list[str] = []
        self._left: list[TensorValue] = []
        self._entered: list[str] = []

    def _node(self, graph: Graph, node: Node, operands: tuple[ExportedValue, ...], iterations: tuple[int, ...]) -> None:
        step, loops = node.outputs[0], self.emit.loops
        self.steps.add(step)
        try:
            super()._node(graph, node, operands, iterations)
        except ExportError as error:
            self.emit.loops = loops
            self.emit.graph.label, self.emit.graph.step = node.label, step
            self.refused[step] = str(error).removeprefix(f"{place_in_code(node)}: ")
            self._left += [value for value in operands if isinstance(value, TensorValue)]
            place = place_of(iterations, node)
            for value, bits in zip(node.outputs, (*node.bits, *[None] * len(node.outputs)), strict=False):
                self.env[value] = self._entering(value, bits, node, place)

    def _entering(self, value: int, bits: int | None, node: Node, place: Place) -> TensorValue:
        """What a step that was left out makes, as a graph input."""
        entered = self._input(f"computed elsewhere {len(self._entered)}", value)
        self._entered.append(entered.tensor)
        if bits is None:
            return entered
        grid = Grid(self._output_scale(node, place), bits)
        attributes = {"scale_x": grid.scale, "data_bits": grid.bits, "zero_point": 0}
        quantized = self.emit.integers(ops.QUANT, [entered.tensor], grid, entered, attributes=attributes, node=node)
        self._entered.append(quantized.tensor)
        return quantized

    def _output_scale(self, node: Node, place: Place) -> float:
        own = [s for (at, path), s in self.record.scales.items() if at == place and path[-1] == "output_quantizer"]
        operands = [self.env[atom] for atom in node.inputs if isinstance(atom, int)]
        passed = [v.grid.scale for v in operands if isinstance(v, TensorValue) and v.grid is not None]
        return [*own, *passed, 1.0][0]

    def _returned(self, names: Sequence[str], outputs: Sequence[ExportedValue]) -> list[tuple[str, str]]:
        graph, found = self.emit.graph, []
        taken = {entry.name for entry in graph.inputs}
        for name, value in zip(names, outputs, strict=True):
            if isinstance(value, TensorValue) and value.tensor in self._entered:
                continue  # what was computed elsewhere need not come back for that
            try:
                found.append((name, self._output(name, value, taken)))
            except ExportError as error:
                self.outputs.append(str(error))
        for i, value in enumerate(self._left):
            tensor = self.emit.real(value).tensor
            if tensor in graph.element_types and tensor not in taken:
                taken.add(tensor)
                found.append((f"wanted elsewhere {i}", tensor))
        return found
