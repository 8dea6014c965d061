"""One-dimensional layers as two-dimensional ones of height one."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from linger_jax.export.dialects.dialect import Destination
from linger_jax.export.dialects.thinker.axes.relayout import Relayout, relay
from linger_jax.export.onnx import GraphNode, OnnxGraph, shape_of
from linger_jax.kinds import onnx_operators as ops

_SEQUENCE_RANK = 3
_PREPENDED = {"kernel_shape": 1, "strides": 1, "dilations": 1, "output_padding": 0}
_PER_END = "pads"


def height_one(graph: OnnxGraph, destination: Destination) -> None:
    """Layers over sequences become layers over planes of height one, where the chip has no others or computes wrongly.

    Convolutions beside them come along, and so does what stands between.
    """
    rank = functools.partial(_rank, graph)
    relay(
        graph,
        Relayout(
            shape=lambda shape: (*shape[:2], 1, *shape[2:]),
            must=lambda node: rank(node) == _SEQUENCE_RANK and _needs_plane(node, destination),
            may=lambda node: rank(node) == _SEQUENCE_RANK and _may(node, destination),
            convert=functools.partial(_convert, graph),
        ),
    )
    vectors = Relayout(
        shape=lambda shape: (*shape, 1, 1),
        must=lambda node: node.operator is ops.QBATCH_NORM1D and rank(node) == 2,
        may=lambda node: False,
        convert=functools.partial(_convert, graph),
    )
    relay(graph, vectors)


def _rank(graph: OnnxGraph, node: GraphNode) -> int:
    return len(shape_of(graph, node.inputs[0])) if node.inputs else 0


def _needs_plane(node: GraphNode, destination: Destination) -> bool:
    """Whether the packer has no such layer over sequences, or the chip computes it wrongly."""
    if node.operator.plane_form is None:
        return node.operator is ops.MAX_POOL
    if node.operator is ops.QCONV1D:
        device = destination.device
        return device is not None and (device.executor.conv1d_differs or int(node.attributes["dilations"][0]) > 1)
    return not node.operator.packing.takes_name


def _may(node: GraphNode, destination: Destination) -> bool:
    if node.operator is ops.QCONV1D:
        (kernel,), (dilation,) = node.attributes["kernel_shape"], node.attributes["dilations"]
        device = destination.device
        return device is not None and int(kernel) <= device.largest_kernel(ops.QCONV2D.name, int(dilation))
    return node.operator.pointwise or node.operator is ops.QCAT


def _convert(graph: OnnxGraph, node: GraphNode) -> None:
    a = node.attributes
    if node.operator is ops.QCAT:
        a["axis"] = int(a["axis"]) + (int(a["axis"]) > 1)
    if node.operator.pointwise or node.operator is ops.QCAT:
        return
    for name, value in _PREPENDED.items():
        if name in a:
            a[name] = [value, *a[name]]
    if _PER_END in a:
        begin, end = a[_PER_END]
        a[_PER_END] = [0, begin, 0, end]
    if node.operator in ops.CONVOLUTIONS | ops.TRANSPOSED:
        weight: Any = graph.constants[node.inputs[1]]
        node.inputs[1] = graph.constant(node.inputs[1], np.expand_dims(weight, 2))
    node.operator = node.operator.plane_form or node.operator
