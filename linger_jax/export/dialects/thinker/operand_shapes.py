"""Sums and products of two tensors of one shape: executors repeat no smaller operand."""

from __future__ import annotations

import numpy as np

from linger_jax.export.dialects.dialect import Destination
from linger_jax.export.onnx import (
    GraphNode,
    Made,
    OnnxGraph,
    insert,
    kind_of,
    reshape_at,
    shape_constant,
    shape_of,
)
from linger_jax.kinds import onnx_operators as ops


def operands_of_one_shape(graph: OnnxGraph, destination: Destination) -> None:
    """A smaller constant is written as large as the result, a smaller tensor stands behind an Expand.

    A product with one number stays: executors have that.
    """
    if destination.device is None:
        return
    for node in [n for n in graph.nodes if n.operator in ops.OF_ONE_SHAPE]:
        for position in range(2):
            _enlarge(graph, node, position)


def _enlarge(graph: OnnxGraph, node: GraphNode, position: int) -> None:
    tensor, shape = node.inputs[position], graph.shapes[node.outputs[0]]
    before = shape_of(graph, tensor)
    if before == shape:
        return
    if tensor in graph.constants:
        if before or node.operator is not ops.QMUL:
            whole = np.ascontiguousarray(np.broadcast_to(graph.constants[tensor], shape))
            node.inputs[position] = graph.constant(tensor, whole)
        return
    tensor = reshape_at(graph, graph.nodes.index(node), tensor, (1,) * (len(shape) - len(before)) + before)
    made = Made(shape=shape, kind=kind_of(graph, tensor))
    inputs = [tensor, shape_constant(graph, shape)]
    node.inputs[position] = insert(graph, graph.nodes.index(node), ops.EXPAND, inputs, made, label=node.label)
