"""Axes of length one through Reshape, and one Reshape where several stand in a row."""

from __future__ import annotations

from linger_jax.export.dialects.dialect import Destination
from linger_jax.export.onnx import (
    AXES_ARE_INPUTS,
    GraphNode,
    OnnxGraph,
    makers,
    replace_uses,
    shape_constant,
    shape_of,
)
from linger_jax.kinds import onnx_operators as ops


def reshapes_for_axes(graph: OnnxGraph, destination: Destination) -> None:
    """Squeeze and Unsqueeze are Reshapes in opsets in which their axes are inputs, which the packer cannot read."""
    if destination.opset < AXES_ARE_INPUTS:
        return
    for node in graph.nodes:
        if node.operator in ops.SQUEEZES or node.operator is ops.UNSQUEEZE:
            _as_reshape(graph, node)


def _as_reshape(graph: OnnxGraph, node: GraphNode) -> None:
    node.operator, node.attributes = ops.RESHAPE, {}
    node.inputs = [node.inputs[0], shape_constant(graph, graph.shapes[node.outputs[0]])]


def one_reshape(graph: OnnxGraph, destination: Destination) -> None:
    """Of several in a row the last stays; one that changes nothing goes."""
    del destination
    for node in list(graph.nodes):
        if not node.operator.reshapes:
            continue
        made_by, source = makers(graph), node.inputs[0]
        while source in made_by and made_by[source].operator.reshapes:
            source = made_by[source].inputs[0]
        shape, before = graph.shapes[node.outputs[0]], shape_of(graph, source)
        if shape == before and node.outputs[0] not in graph.outputs:
            replace_uses(graph, node.outputs[0], source)
            graph.nodes.remove(node)
        elif source != node.inputs[0]:
            if node.operator is not ops.FLATTEN or before[0] != shape[0]:
                _as_reshape(graph, node)
            node.inputs[0] = source
    graph.drop_dead()
