"""Linear layers of rows: of two or three axes, or convolutions of one point where the executor has one row alone."""

from __future__ import annotations

import math

from linger_jax.export.dialects.dialect import Destination
from linger_jax.export.onnx import (
    GraphNode,
    OnnxGraph,
    reshape_at,
    reshape_output,
    shape_of,
    transposed_at,
)
from linger_jax.kinds import onnx_operators as ops

_OTHERS_BETWEEN = [0, 2, 1]
_WIDTHS = ("x_bits", "w_bits", "o_bits")
_WIDTH = 8
_WINDOW = {"kernel_shape": [1, 1], "strides": [1, 1], "pads": [0] * 4, "dilations": [1, 1], "group": 1}


def rows_of_linear_layers(graph: OnnxGraph, destination: Destination) -> None:
    """Leading axes merge into one of rows where there are too many; rows become the points of a plane of height one.

    The latter where the executor corrupts the results of several rows; its convolutions compute the same, in 8 bits.
    """
    device = destination.device
    corrupted = device is not None and device.executor.linear_rows_are_corrupted
    for node in [n for n in graph.nodes if n.operator is ops.QLINEAR]:
        shape, outputs = shape_of(graph, node.inputs[0]), graph.shapes[node.outputs[0]][-1]
        rows = math.prod(shape[:-1])
        turns = corrupted and rows > 1 and all(node.attributes[bits] == _WIDTH for bits in _WIDTHS)
        if not turns and len(shape) in ops.QLINEAR.ranks:
            continue
        node.inputs[0] = reshape_at(graph, graph.nodes.index(node), node.inputs[0], (1, rows, shape[-1]))
        reshape_output(graph, node, (1, rows, outputs))
        if turns:
            _turn(graph, node)


def _turn(graph: OnnxGraph, node: GraphNode) -> None:
    """From [1, rows, inputs] to [1, inputs, 1, rows], and back behind the node."""
    (_, rows, inputs), (_, _, outputs) = shape_of(graph, node.inputs[0]), graph.shapes[node.outputs[0]]
    place, inner = graph.nodes.index(node), node.outputs[0]
    columns = transposed_at(graph, place, node.inputs[0], _OTHERS_BETWEEN)
    data = reshape_at(graph, place + 1, columns, (1, inputs, 1, rows))
    weight = graph.constants[node.inputs[1]].reshape(outputs, inputs, 1, 1)
    node.operator = ops.QCONV2D
    node.inputs[:2] = [data, graph.constant(node.inputs[1], weight)]
    node.attributes |= _WINDOW
    back = graph.nodes[graph.nodes.index(node) + 1]
    graph.shapes[inner] = (1, outputs, 1, rows)
    columns = reshape_at(graph, graph.nodes.index(back), inner, (1, outputs, rows))
    back.inputs[0] = transposed_at(graph, graph.nodes.index(back), columns, _OTHERS_BETWEEN)
