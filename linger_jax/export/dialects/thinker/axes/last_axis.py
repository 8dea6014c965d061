"""Functions along an axis, which the executors compute along the last axis only."""

from __future__ import annotations

import math

from linger_jax.export.dialects.dialect import Destination
from linger_jax.export.onnx import GraphNode, OnnxGraph, reshape_at, reshape_output, shape_of, transposed_at
from linger_jax.kinds import onnx_operators as ops

_OTHERS_BETWEEN = [0, 2, 1]


def functions_of_the_last_axis(graph: OnnxGraph, destination: Destination) -> None:
    """A softmax or glu along another axis stands between Transposes of three axes.

    The axis of a softmax is written as -1: counted from the front, the same axis is another one for some executors.
    """
    del destination
    for node in [n for n in graph.nodes if n.operator in ops.ALONG_LAST_AXIS]:
        name = "dim" if node.operator is ops.QGLU else "axis"
        shape = shape_of(graph, node.inputs[0])
        axis = int(node.attributes[name]) % len(shape)
        if axis != len(shape) - 1:
            _turn(graph, node, axis)
        node.attributes[name] = -1 if node.operator is ops.QSOFTMAX else len(shape_of(graph, node.inputs[0])) - 1


def _turn(graph: OnnxGraph, node: GraphNode, axis: int) -> None:
    """What lies before and behind the axis is one axis each, and the last two of the three change places."""
    before, after = shape_of(graph, node.inputs[0]), graph.shapes[node.outputs[0]]
    rows, columns = math.prod(before[:axis]), math.prod(before[axis + 1 :])
    reshape_output(graph, node, (rows, after[axis], columns))
    node.inputs[0] = reshape_at(graph, graph.nodes.index(node), node.inputs[0], (rows, before[axis], columns))
    node.inputs[0] = transposed_at(graph, graph.nodes.index(node), node.inputs[0], _OTHERS_BETWEEN)
    back = graph.nodes[graph.nodes.index(node) + 1]
    graph.shapes[node.outputs[0]] = (rows, columns, after[axis])
    back.inputs[0] = transposed_at(graph, graph.nodes.index(back), node.outputs[0], _OTHERS_BETWEEN)
