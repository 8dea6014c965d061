"""One-dimensional layers as two-dimensional ones of height one."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from linger_jax.export.dialects.thinker.relayout import POINTWISE, Relayout, relay
from linger_jax.export.dialects.thinker.rewriting import Target
from linger_jax.export.onnx import LINGER, GraphNode, OnnxGraph, shape_of

_SEQUENCE_RANK = 3
_ALWAYS = ("QConvTranspose1d", "QBatchNorm1d", "QAvgPool1d")
_PREPENDED = {"kernel_shape": 1, "strides": 1, "dilations": 1, "output_padding": 0}
_PER_END = "pads"


def height_one(graph: OnnxGraph, target: Target) -> None:
    """Layers over sequences become layers over planes of height one, where the chip has no others or computes wrongly.

    Convolutions beside them come along, and so does what stands between.
    """
    rank = functools.partial(_rank, graph)
    relay(
        graph,
        Relayout(
            shape=lambda shape: (*shape[:2], 1, *shape[2:]),
            must=lambda node: rank(node) == _SEQUENCE_RANK and _needs_plane(node, target),
            may=lambda node: rank(node) == _SEQUENCE_RANK and _may(node, target),
            convert=functools.partial(_convert, graph),
        ),
    )
    vectors = Relayout(
        shape=lambda shape: (*shape, 1, 1),
        must=lambda node: node.op == "QBatchNorm1d" and rank(node) == 2,
        may=lambda node: False,
        convert=functools.partial(_convert, graph),
    )
    relay(graph, vectors)


def _rank(graph: OnnxGraph, node: GraphNode) -> int:
    return len(shape_of(graph, node.inputs[0])) if node.inputs else 0


def _needs_plane(node: GraphNode, target: Target) -> bool:
    if node.domain != LINGER:
        return node.op == "MaxPool"
    if node.op == "QConv1d":
        return target.device is not None and target.device.executor.conv1d_differs
    return node.op in _ALWAYS


def _may(node: GraphNode, target: Target) -> bool:
    if node.op == "QConv1d":
        (kernel,), (dilation,) = node.attributes["kernel_shape"], node.attributes["dilations"]
        device = target.device
        return device is not None and int(kernel) <= device.largest_kernel("QConv2d", int(dilation))
    return node.op in POINTWISE or node.op == "QCat"


def _convert(graph: OnnxGraph, node: GraphNode) -> None:
    a = node.attributes
    if node.op == "QCat":
        a["axis"] = int(a["axis"]) + (int(a["axis"]) > 1)
    if node.op in POINTWISE or node.op == "QCat":
        return
    for name, value in _PREPENDED.items():
        if name in a:
            a[name] = [value, *a[name]]
    if _PER_END in a:
        begin, end = a[_PER_END]
        a[_PER_END] = [0, begin, 0, end]
    if "Conv" in node.op:
        weight: Any = graph.constants[node.inputs[1]]
        node.inputs[1] = graph.constant(node.inputs[1], np.expand_dims(weight, 2))
    node.op = node.op.replace("1d", "2d")
