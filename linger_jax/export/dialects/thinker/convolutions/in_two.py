"""Windows that are too large, or move too far, as two convolutions.

Source: docs/specification/executor.md section 4, row ``strided_conv_as_two`` and that of patches.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from linger_jax.export.dialects.dialect import Destination
from linger_jax.export.onnx import GraphNode, Made, OnnxGraph, insert, kind_of, shape_of
from linger_jax.kinds import onnx_operators as ops
from linger_jax.targets import Device, TwoSteps, fits_one, windows_in_two
from linger_jax.typing import HostArray

_AXES = 2
_WIDTH = 8


def two_convolutions(graph: OnnxGraph, destination: Destination) -> None:
    """A convolution whose window the device has not moves the phases of its stride to channels first.

    Each phase is copied by a weight of one; a convolution of the weights in another order then goes over fewer points.
    """
    device = destination.device
    if device is None:
        return
    for node in [n for n in graph.nodes if n.operator is ops.QCONV2D]:
        a = node.attributes
        if any(d != 1 for d in a["dilations"]) or a["x_bits"] != _WIDTH:
            continue
        if all(fits_one(device, k, s) for k, s in zip(a["kernel_shape"], a["strides"], strict=True)):
            continue
        windows = windows_in_two(device, a["kernel_shape"], a["strides"], a["pads"][:_AXES])
        if windows is not None:
            _write(graph, node, windows, device)


def _write(graph: OnnxGraph, node: GraphNode, windows: Sequence[TwoSteps], device: Device) -> None:
    a, source = node.attributes, node.inputs[0]
    batch, channels, *plane = shape_of(graph, source)
    results = graph.shapes[node.outputs[0]][_AXES:]
    points, behind, kernel, pads_behind = [], [], [], []
    for extent, size, window in zip(plane, results, windows, strict=True):
        # Points that the first makes, and how far the second reads behind them. A tap of zero takes a result too many.
        made = -(-(extent + window.pad) // window.first)
        over = (size - 1) * window.stride + window.kernel - window.pad_second - made
        points.append(made)
        behind.append(made * window.first - window.pad - extent)
        kernel.append(window.kernel + int(-over >= window.stride))
        pads_behind.append(max(0, over))
    if not all(
        k <= device.conv2d_kernel[1] and p <= min(k, device.padding) for k, p in zip(kernel, pads_behind, strict=True)
    ):
        return
    first = [window.first for window in windows]
    phases = insert(
        graph,
        graph.nodes.index(node),
        ops.QCONV2D,
        [source, graph.constant("phases_" + "x".join(map(str, (channels, *first))), _phases(channels, first))],
        Made(shape=(batch, channels * first[0] * first[1], *points), kind=kind_of(graph, source)),
        attributes={
            **a,
            "group": 1,
            "kernel_shape": first,
            "strides": first,
            "pads": [*(w.pad for w in windows), *behind],
            "scale_w": 1.0,
            "w_bits": _WIDTH,
            "scale_o": a["scale_x"],
            "o_bits": a["x_bits"],
        },
        label=node.label,
    )
    weight = graph.constants[node.inputs[1]]
    node.inputs[:2] = [phases, graph.constant(node.inputs[1], _over_phases(weight, first, kernel))]
    a["kernel_shape"], a["strides"] = kernel, [window.stride for window in windows]
    a["pads"] = [*(w.pad_second for w in windows), *pads_behind]


def _phases(channels: int, first: Sequence[int]) -> HostArray:
    """Weight int8[channels * phases, channels, *first] that copies each phase to a channel of its own."""
    eye = np.eye(first[0] * first[1], dtype=np.int8).reshape(-1, *first)
    return np.einsum("cd,phw->cpdhw", np.eye(channels, dtype=np.int8), eye).reshape(-1, channels, *first)


def _over_phases(weight: HostArray, first: Sequence[int], kernel: Sequence[int]) -> HostArray:
    """A weight [O, C, ...] in the order of phases: [O, C * phases, *kernel]; the taps that it lacks are zero."""
    results, channels, *window = weight.shape
    whole = np.zeros((results, channels, *(f * k for f, k in zip(first, kernel, strict=True))), weight.dtype)
    whole[:, :, : window[0], : window[1]] = weight
    split = whole.reshape(results, channels, *itertools.chain(*zip(kernel, first, strict=True)))
    return split.transpose(0, 1, 3, 5, 2, 4).reshape(results, -1, *kernel)
