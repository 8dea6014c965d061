"""Axes of length one through Reshape, and one Reshape where several stand in a row."""

from __future__ import annotations

from linger_jax.export.dialects.thinker.rewriting import Target
from linger_jax.export.onnx import GraphNode, OnnxGraph, makers, replace_uses, shape_constant, shape_of

AXES_ARE_INPUTS = 13
"""The first opset in which Squeeze and Unsqueeze take their axes as inputs, which the packer cannot read."""
_IN_ORDER = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


def reshapes_for_axes(graph: OnnxGraph, target: Target) -> None:
    """In newer opsets Squeeze and Unsqueeze are Reshapes."""
    if target.opset < AXES_ARE_INPUTS:
        return
    for node in graph.nodes:
        if node.op in ("Squeeze", "Unsqueeze"):
            _as_reshape(graph, node)


def _as_reshape(graph: OnnxGraph, node: GraphNode) -> None:
    node.op, node.domain, node.attributes = "Reshape", "", {}
    node.inputs = [node.inputs[0], shape_constant(graph, graph.shapes[node.outputs[0]])]


def one_reshape(graph: OnnxGraph, target: Target) -> None:
    """Of several in a row the last stays; one that changes nothing goes."""
    del target
    for node in list(graph.nodes):
        if node.op not in _IN_ORDER:
            continue
        made_by, source = makers(graph), node.inputs[0]
        while source in made_by and made_by[source].op in _IN_ORDER:
            source = made_by[source].inputs[0]
        shape, before = graph.shapes[node.outputs[0]], shape_of(graph, source)
        if shape == before and node.outputs[0] not in graph.outputs:
            replace_uses(graph, node.outputs[0], source)
            graph.nodes.remove(node)
        elif source != node.inputs[0]:
            if node.op != "Flatten" or before[0] != shape[0]:
                _as_reshape(graph, node)
            node.inputs[0] = source
    graph.drop_dead()
