"""Parts of a graph that compute a function of one tensor, element by element."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from linger_jax.export.dialects.thinker.rescale import grid_of
from linger_jax.export.onnx import GraphNode, OnnxGraph, kind_of, makers, readers, shape_of
from linger_jax.kinds import Role

_TABLED = "int8"


@dataclasses.dataclass(frozen=True)
class Function:
    """Nodes that turn one tensor of 8 bits into another of the same shape.

    Attributes:
      source: what they read, besides constants that are one number.
      nodes: in order; nothing else reads what they make, but for the last.
    """

    source: str
    nodes: tuple[GraphNode, ...]

    @property
    def result(self) -> str:
        """What the last of them makes."""
        return self.nodes[-1].outputs[0]


def function_around(graph: OnnxGraph, node: GraphNode) -> Function | None:
    """The largest function of a tensor of 8 bits that a node is part of.

    Args:
      graph: the graph.
      node: one element at a time, of one operand.

    Returns:
      None where the node is a function of wider tensors only.
    """
    found = (_largest(graph, source, node) for source in _sources(graph, node))
    return max((f for f in found if f is not None), key=lambda f: len(f.nodes), default=None)


def _sources(graph: OnnxGraph, node: GraphNode | None) -> Iterator[str]:
    """Tensors of 8 bits that the node is a function of, the nearest first."""
    made_by = makers(graph)
    while node is not None and node.operator.pointwise:
        operands = _operands(graph, node)
        if len(operands) != 1:
            return
        (tensor,) = operands
        if grid_of(graph, tensor) is not None and kind_of(graph, tensor) == _TABLED:
            yield tensor
        node = made_by.get(tensor)


def _operands(graph: OnnxGraph, node: GraphNode) -> set[str]:
    """The computed tensors that a node reads, and constants of more than one number but for the results of a table."""
    own = node.operator.positions(Role.results, len(node.inputs))
    return {
        tensor
        for position, tensor in enumerate(node.inputs)
        if position not in own and (tensor not in graph.constants or np.size(graph.constants[tensor]) != 1)
    }


def _largest(graph: OnnxGraph, source: str, part: GraphNode) -> Function | None:
    """The largest function of a tensor that has the node as a part."""
    shape, reached, nodes = shape_of(graph, source), {source}, list[GraphNode]()
    for node in graph.nodes:
        operands = _operands(graph, node)
        if node.operator.pointwise and operands and operands <= reached and graph.shapes[node.outputs[0]] == shape:
            reached.add(node.outputs[0])
            nodes.append(node)
    for last in reversed(nodes):
        function = Function(source, _needed(nodes, last))
        if part in function.nodes and _is_closed(graph, function):
            return function
    return None


def _needed(nodes: list[GraphNode], last: GraphNode) -> tuple[GraphNode, ...]:
    """Those of the nodes that a node's result depends on, and itself."""
    wanted, found = {last.outputs[0]}, []
    for node in reversed(nodes):
        if node.outputs[0] in wanted:
            wanted.update(node.inputs)
            found.append(node)
    return tuple(reversed(found))


def _is_closed(graph: OnnxGraph, function: Function) -> bool:
    """Whether nobody else reads what the nodes make on the way."""
    inner = {node.outputs[0] for node in function.nodes[:-1]}
    read = {id(reader) for tensor in inner for reader in readers(graph, tensor)}
    return not inner & set(graph.outputs) and read <= {id(node) for node in function.nodes}
