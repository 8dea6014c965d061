"""Convolutions with large windows as transposed ones, and the bias that those must have.

Source: docs/specification/executor.md sections 3 (row QConvTranspose2d) and 4 (row ``conv_as_deconv``).
"""

from __future__ import annotations

import math

import numpy as np

from linger_jax.export.dialects.dialect import Destination
from linger_jax.export.onnx import GraphNode, OnnxGraph, shape_of
from linger_jax.kinds import onnx_operators as ops
from linger_jax.targets import Device

_CHANNELS = 8
_WIDTH = 8


def convolutions_as_transposed(graph: OnnxGraph, destination: Destination) -> None:
    """A convolution of stride 1 with a window that is too large is a transposed one with its weight reversed."""
    device = destination.device
    if device is None:
        return
    for node in [n for n in graph.nodes if n.operator is ops.QCONV2D]:
        a = node.attributes
        plain = all(v == 1 for v in (*a["strides"], *a["dilations"], a["group"])) and a["o_bits"] == _WIDTH
        if plain and max(a["kernel_shape"]) > device.conv2d_kernel[1] and _fits(graph, node, device):
            _reverse(graph, node)


def transposed_with_bias(graph: OnnxGraph, destination: Destination) -> None:
    """A transposed convolution without a bias has one of zeros: the packer asks for one."""
    if destination.device is None:
        return
    for node in graph.nodes:
        if node.operator is ops.QCONV_TRANSPOSE2D and len(node.inputs) == 2:
            results = shape_of(graph, node.inputs[1])[1]
            node.inputs.append(graph.constant(f"zero_{results}", np.zeros(results, np.int32)))


def _fits(graph: OnnxGraph, node: GraphNode, device: Device) -> bool:
    a = node.attributes
    _, channels, *plane = shape_of(graph, node.inputs[0])
    kernel, pads = a["kernel_shape"], _pads(node)
    axes = len(kernel)
    inside = all(
        k <= device.transposed_kernel and n + pads[i] + pads[i + axes] >= k and n + p + q >= k
        for i, (k, n, p, q) in enumerate(zip(kernel, plane, a["pads"][:axes], a["pads"][axes:], strict=True))
    )
    limit = device.transposed_of_stride_one
    rows = _eights(channels) * (plane[0] + kernel[0] - 1) * _eights(plane[1])
    small = limit is None or (rows <= limit and channels * math.prod(plane) <= _CHANNELS * limit)
    return inside and min(pads) >= 0 and small


def _pads(node: GraphNode) -> list[int]:
    kernel = node.attributes["kernel_shape"]
    return [int(k) - 1 - int(p) for k, p in zip((*kernel, *kernel), node.attributes["pads"], strict=True)]


def _eights(extent: int) -> int:
    return -(-extent // _CHANNELS) * _CHANNELS


def _reverse(graph: OnnxGraph, node: GraphNode) -> None:
    a = node.attributes
    weight = np.ascontiguousarray(graph.constants[node.inputs[1]][:, :, ::-1, ::-1].swapaxes(0, 1))
    node.inputs[1] = graph.constant(node.inputs[1], weight)
    a["pads"], a["output_padding"] = _pads(node), [0, 0]
    node.operator = ops.QCONV_TRANSPOSE2D
