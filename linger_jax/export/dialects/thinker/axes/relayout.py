"""Other shapes for the same elements, kept between neighbours: a Reshape stands only where they begin and end."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection

from linger_jax.export.onnx import (
    GraphNode,
    OnnxGraph,
    makers,
    readers,
    replace_uses,
    reshape_at,
    shape_constant,
    shape_of,
)
from linger_jax.kinds import Role
from linger_jax.kinds import onnx_operators as ops
from linger_jax.typing import Shape


@dataclasses.dataclass(frozen=True)
class Relayout:
    """One kind of other shape.

    Attributes:
      shape: the other shape of a shape, same elements in the same order.
      must: nodes that need it.
      may: nodes that can work in it, and do where their neighbours do.
      convert: gives a node the attributes and constants that it has in it.
    """

    shape: Callable[[Shape], Shape]
    must: Callable[[GraphNode], bool]
    may: Callable[[GraphNode], bool]
    convert: Callable[[GraphNode], None]


def data_inputs(graph: OnnxGraph, node: GraphNode) -> list[str]:
    """What a node computes on: computed operands, and constants of their rank that are no parameters."""
    data = [node.inputs[i] for i in node.operator.positions(Role.data, len(node.inputs))]
    return [t for t in data if t not in graph.constants or graph.constants[t].ndim]


def relay(graph: OnnxGraph, relayout: Relayout) -> None:
    """Brings nodes, and what stands between them, into another shape."""
    chosen = {id(n) for n in graph.nodes if relayout.must(n) and _movable(graph, n)}
    if not chosen:
        return
    _spread(graph, relayout, chosen)
    nodes = [n for n in graph.nodes if id(n) in chosen]
    relaid = _relaid_tensors(graph, nodes, chosen)
    old = {tensor: graph.shapes[tensor] for tensor in relaid}
    given: dict[str, str] = {}
    for node in nodes:
        for tensor in data_inputs(graph, node):
            if tensor in relaid:
                continue
            if tensor not in given:
                shape = relayout.shape(shape_of(graph, tensor))
                given[tensor] = reshape_at(graph, graph.nodes.index(node), tensor, shape)
            replace_uses(graph, tensor, given[tensor], within=[node])
        relayout.convert(node)
    for tensor, before in old.items():
        _changed(graph, tensor, before, relayout.shape(before), chosen)


def _movable(graph: OnnxGraph, node: GraphNode) -> bool:
    ranks = {len(shape_of(graph, t)) for t in data_inputs(graph, node)}
    return not set(node.outputs) & set(graph.outputs) and len(ranks) == 1


def _is_free(graph: OnnxGraph, node: GraphNode) -> bool:
    """Whether a node takes its elements in any shape."""
    if node.operator is ops.FLATTEN:
        return node.attributes["axis"] == 1 and shape_of(graph, node.inputs[0])[0] == graph.shapes[node.outputs[0]][0]
    return node.operator is ops.RESHAPE


def _spread(graph: OnnxGraph, relayout: Relayout, chosen: Collection[int]) -> None:
    assert isinstance(chosen, set)
    made_by = makers(graph)
    grows = True
    while grows:
        grows = False
        for node in graph.nodes:
            if id(node) in chosen or not relayout.may(node) or not _movable(graph, node):
                continue
            before = [made_by.get(t) for t in data_inputs(graph, node) if t not in graph.constants]
            behind = [reader for tensor in node.outputs for reader in readers(graph, tensor)]
            inside = [n is not None and (id(n) in chosen or n.operator is ops.RESHAPE) for n in before]
            reached = any(n is not None and id(n) in chosen for n in (*before, *behind))
            if reached and (all(inside) or (any(inside) and all(id(n) in chosen for n in behind))):
                chosen.add(id(node))
                grows = True


def _relaid_tensors(graph: OnnxGraph, nodes: list[GraphNode], chosen: Collection[int]) -> set[str]:
    """What chosen nodes make, and what Reshapes make for them alone."""
    relaid = {t for n in nodes for t in n.outputs}
    for node in graph.nodes:
        if node.operator is ops.RESHAPE and not set(node.outputs) & set(graph.outputs):
            behind = readers(graph, node.outputs[0])
            if behind and all(id(n) in chosen for n in behind):
                relaid.add(node.outputs[0])
    return relaid


def _changed(graph: OnnxGraph, tensor: str, before: Shape, after: Shape, chosen: Collection[int]) -> None:
    """Gives a tensor its other shape, and the old one to readers that want it."""
    maker = makers(graph)[tensor]
    graph.shapes[tensor] = after
    if maker.operator is ops.RESHAPE:
        maker.inputs[1] = shape_constant(graph, after)
    outside = [n for n in readers(graph, tensor) if id(n) not in chosen and not _is_free(graph, n)]
    if outside:
        back = reshape_at(graph, graph.nodes.index(maker) + 1, tensor, before)
        replace_uses(graph, tensor, back, within=outside)
