"""Which steps of a plan a dialect writes in another form, by which rewrites, and what that costs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from linger_jax.export.dialects import LINGER, Rewrite
from linger_jax.export.onnx import GraphNode, OnnxGraph, makers, readers, shape_of
from linger_jax.kinds import Family, Role
from linger_jax.kinds import onnx_operators as ops
from linger_jax.plan import Cost

Signature = Counter[tuple[str, tuple[tuple[int, ...], ...]]]
"""Operators of a step with the shapes of their weights: what makes one form of it another than the other."""


class StepForms:
    """Watches a graph that is rewritten; every node keeps, or gets, the step that it is written for.

    Attributes:
      names: of the rewrites that changed a step's form, by step, in order.
    """

    def __init__(self, graph: OnnxGraph) -> None:
        self._graph = graph
        self.names: dict[int, list[str]] = {}
        self._begin()

    def _begin(self) -> None:
        self._plain = {step: _cost(self._graph, nodes) for step, nodes in nodes_of_steps(self._graph).items()}
        self._look()

    def _look(self) -> None:
        self._forms = {step: _signature(self._graph, nodes) for step, nodes in nodes_of_steps(self._graph).items()}
        self._seen = {id(node): _state(node) for node in self._graph.nodes}
        self._nodes = list(self._graph.nodes)  # as long as these are held, no other has the id of one of them

    def after(self, rewrite: Rewrite) -> None:
        """A rewrite was applied."""
        self._graph.drop_dead()
        _claim(self._graph, self._seen, self._nodes)
        if rewrite in LINGER.rewrites:  # that is the form to which others are compared
            self._begin()
            return
        before = self._forms
        self._look()
        for step in before.keys() | self._forms.keys():
            if before.get(step, Counter()) != self._forms.get(step, Counter()):
                self.names.setdefault(step, []).append(rewrite.name)

    def cost(self, step: int) -> Cost:
        """What a step takes more than it did before it was rewritten."""
        now = _cost(self._graph, nodes_of_steps(self._graph).get(step, []))
        plain = self._plain.get(step, Cost())
        return Cost(
            nodes=now.nodes - plain.nodes,
            multiply_accumulates=now.multiply_accumulates - plain.multiply_accumulates,
            constants=now.constants - plain.constants,
        )


def nodes_of_steps(graph: OnnxGraph) -> Mapping[int, list[GraphNode]]:
    """The nodes that were written for each step."""
    found: dict[int, list[GraphNode]] = {}
    for node in graph.nodes:
        if node.step is not None:
            found.setdefault(node.step, []).append(node)
    return found


def constants_of(graph: OnnxGraph, nodes: list[GraphNode]) -> Mapping[str, int]:
    """Bytes of the numbers that nodes compute with and the file stores."""
    stored = (name for node in nodes for _, name in _stored(graph, node))
    return {name: graph.constants[name].nbytes for name in stored}


def stays(node: GraphNode) -> bool:
    """Whether the packer keeps a node: it drops those between floats and integers."""
    return node.operator not in (ops.QUANT, ops.DEQUANT, ops.IDENTITY)


def _stored(graph: OnnxGraph, node: GraphNode) -> Iterator[tuple[Role, str]]:
    for position, name in enumerate(node.inputs):
        role = node.operator.role(position)
        if name in graph.constants and role not in (None, Role.numbers):
            assert role is not None
            yield role, name


def _signature(graph: OnnxGraph, nodes: list[GraphNode]) -> Signature:
    found: Signature = Counter()
    for node in nodes:
        if stays(node) and not node.operator.reshapes:  # another shape of the same bytes costs a chip nothing
            operator = node.operator.same_as or node.operator
            weights = (graph.constants[name].shape for role, name in _stored(graph, node) if role is Role.weight)
            found[operator.name, tuple(weights)] += 1
    return found


def _cost(graph: OnnxGraph, nodes: list[GraphNode]) -> Cost:
    return Cost(
        nodes=sum(map(stays, nodes)),
        multiply_accumulates=sum(_multiply_accumulates(graph, node) for node in nodes),
        constants=sum(constants_of(graph, nodes).values()),
    )


def _multiply_accumulates(graph: OnnxGraph, node: GraphNode) -> int:
    made = math.prod(graph.shapes[node.outputs[0]])
    match node.operator.family:
        case Family.convolution:
            return made * math.prod(shape_of(graph, node.inputs[1])[1:])
        case Family.transposed:
            return math.prod(shape_of(graph, node.inputs[0])) * math.prod(shape_of(graph, node.inputs[1])[1:])
        case Family.linear | Family.product:
            return made * shape_of(graph, node.inputs[0])[-1]
        case Family.recurrent:
            steps = max(shape_of(graph, node.inputs[0])[:2])
            return steps * sum(
                math.prod(shape_of(graph, name)) for role, name in _stored(graph, node) if role is Role.weight
            )
    return 0


def _state(node: GraphNode) -> tuple[object, ...]:
    return node.operator, tuple(node.inputs), tuple(node.outputs), str(node.attributes)


def _claim(graph: OnnxGraph, seen: Mapping[int, tuple[object, ...]], nodes: Sequence[GraphNode]) -> None:
    """Gives nodes that a rewrite added a step.

    It is that of a node which they replaced, or of a neighbour, with their label. A node without a label was added for
    a neighbour that was changed too: for the one in front, if both were; only where none was, for any.

    Args:
      graph: after the rewrite.
      seen: what nodes were before it, by identity.
      nodes: those.
    """
    there = {id(node) for node in graph.nodes}
    replaced = {node.label: node.step for node in nodes if id(node) not in there}
    named = {node.label: node.step for node in nodes}
    added = [node for node in graph.nodes if node.step is None]

    def give(node: GraphNode, *, from_any_neighbour: bool) -> bool:
        made_by = makers(graph)
        before = [made_by[tensor] for tensor in node.inputs if tensor in made_by]
        behind = [reader for tensor in node.outputs for reader in readers(graph, tensor)]
        near = [n for n in (*before, *behind) if n.step is not None]
        alike = [n.step for n in near if n.label == node.label]
        by_label = [replaced.get(node.label), *alike, named.get(node.label)] if node.label else []
        changed = [n.step for n in near if seen.get(id(n)) != _state(n) or from_any_neighbour]
        node.step = next((step for step in (*by_label, *changed) if step is not None), None)
        if node.step is not None and not node.label:
            node.label = next((n.label for n in near if n.step == node.step), "")
        return node.step is not None

    while added:
        added.sort(key=lambda node: not node.label)
        given = [node for node in added if give(node, from_any_neighbour=False)]
        given = given or [node for node in added if give(node, from_any_neighbour=True)][:1]
        if not given:
            return
        added = [node for node in added if node.step is None]
