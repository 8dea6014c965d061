"""Groups of a convolution that the packer refuses or the executor computes otherwise.

Source: docs/specification/executor.md sections 3 (row QConv2d) and 9.
"""

from __future__ import annotations

import numpy as np

from linger_jax.export.dialects.dialect import Destination
from linger_jax.export.onnx import GraphNode, Made, OnnxGraph, insert, kind_of, makers, shape_of
from linger_jax.kinds import onnx_operators as ops

_CHANNEL_AXIS = 1
_EACH = 2
"""Results of a group that has one, of which every second is none."""


def narrow_groups(graph: OnnxGraph, destination: Destination) -> None:
    """Groups of few channels with several results each are joined, with weights of zero between them."""
    device = destination.device
    if device is None or not device.narrowest_group_channels:
        return
    for node in [n for n in graph.nodes if n.operator is ops.QCONV2D]:
        groups, weight = int(node.attributes["group"]), graph.constants[node.inputs[1]]
        results, channels = weight.shape[0] // groups, weight.shape[1]
        if groups == 1 or channels >= device.narrowest_group_channels or results == channels == 1:
            continue
        enough = device.narrowest_group_channels
        joined = min(m for m in range(1, groups + 1) if groups % m == 0 and (m * channels >= enough or m == groups))
        wide = np.zeros((groups // joined, joined, results, joined, channels, *weight.shape[2:]), weight.dtype)
        each = weight.reshape(groups // joined, joined, results, channels, *weight.shape[2:])
        for i in range(joined):
            wide[:, i, :, i] = each[:, i]
        whole = wide.reshape(weight.shape[0], joined * channels, *weight.shape[2:])
        node.inputs[1] = graph.constant(node.inputs[1], whole)
        node.attributes["group"] = groups // joined


def groups_of_one_result(graph: OnnxGraph, destination: Destination) -> None:
    """A group with one result of several channels has a second one of zeros, which a Gather leaves out."""
    if destination.device is None:
        return
    for node in [n for n in graph.nodes if n.operator is ops.QCONV2D]:
        groups, (results, channels) = int(node.attributes["group"]), shape_of(graph, node.inputs[1])[:2]
        if groups > 1 and results == groups and channels > 1:
            _double(graph, node)


def _double(graph: OnnxGraph, node: GraphNode) -> None:
    for position in range(1, len(node.inputs)):
        value = graph.constants[node.inputs[position]]
        doubled = np.zeros((_EACH * value.shape[0], *value.shape[1:]), value.dtype)
        doubled[::_EACH] = value
        node.inputs[position] = graph.constant(node.inputs[position], doubled)
    outer = node.outputs[0]
    batch, results, *plane = graph.shapes[outer]
    index = graph.constant(f"every_second_{results}", np.arange(0, _EACH * results, _EACH, dtype=np.int64))
    made = Made(shape=(batch, results, *plane), kind=kind_of(graph, outer))
    place = graph.nodes.index(node) + 1
    inner = insert(graph, place, ops.GATHER, [outer, index], made, attributes={"axis": _CHANNEL_AXIS}, label=node.label)
    gather = makers(graph)[inner]
    node.outputs[0], gather.inputs[0], gather.outputs[0] = inner, inner, outer
    graph.shapes[inner] = (batch, _EACH * results, *plane)
