"""Slices as the packer reads them: one axis a node, every element of a range."""

from __future__ import annotations

import numpy as np

from linger_jax.export.dialects.dialect import Destination
from linger_jax.export.onnx import GraphNode, Made, OnnxGraph, insert, kind_of, shape_of, slice_constants
from linger_jax.kinds import onnx_operators as ops


def one_axis_a_slice(graph: OnnxGraph, destination: Destination) -> None:
    """A Slice of several axes becomes several; one that leaves elements out, or runs backwards, a Gather.

    The packer reads the first axis alone, and the executor no step.
    """
    del destination
    for node in [n for n in graph.nodes if n.operator is ops.SLICE]:
        axes, steps = (graph.constants[node.inputs[i]].tolist() for i in (3, 4))
        if len(axes) > 1 or steps != [1]:
            _apart(graph, node)


def _apart(graph: OnnxGraph, node: GraphNode) -> None:
    tensor, place = node.inputs[0], graph.nodes.index(node)
    shape, kind = list(shape_of(graph, tensor)), kind_of(graph, tensor)
    graph.nodes.remove(node)
    bounds = (graph.constants[name].tolist() for name in node.inputs[1:])
    for start, end, axis, step in zip(*bounds, strict=True):
        kept = range(*slice(start, end, step).indices(shape[axis]))
        shape[axis] = len(kept)
        made = Made(shape=tuple(shape), kind=kind)
        if step == 1:
            constants = slice_constants(graph, [kept.start], [kept.stop], [axis], [1])
            tensor = insert(graph, place, ops.SLICE, [tensor, *constants], made, label=node.label)
        else:
            index = graph.constant("indices", np.asarray(kept, np.int64))
            attributes = {"axis": axis}
            tensor = insert(graph, place, ops.GATHER, [tensor, index], made, attributes=attributes, label=node.label)
        place += 1
    graph.nodes[place - 1].outputs = list(node.outputs)
