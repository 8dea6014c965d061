"""Convolutions that step further than their kernel reaches, which the packer refuses: a 1x1 of stride 2, for one."""

from __future__ import annotations

import numpy as np

from linger_jax.export.lint.device import device, platforms
from linger_jax.export.onnx_graph import LINGER, GraphNode, OnnxGraph
from linger_jax.export.thinker.rewrite import Target

_CONVOLUTIONS = ("QConv1d", "QConv2d")


def kernels_as_wide_as_strides(graph: OnnxGraph, target: Target) -> None:
    """The kernel gains taps of weight zero, at either end as many as the padding grows by: the sums stay the same."""
    if target.platform not in platforms():
        return
    for node in graph.nodes:
        if node.op in _CONVOLUTIONS and node.domain == LINGER:
            _widen(graph, node, target)


def _widen(graph: OnnxGraph, node: GraphNode, target: Target) -> None:
    a, limits = node.attributes, device(target.platform)
    kernel, strides, dilations = (list(map(int, a[key])) for key in ("kernel_shape", "strides", "dilations"))
    pads = list(map(int, a["pads"]))[: len(kernel)]
    taps = [max(0, (s - k + 1) // 2) for s, k in zip(strides, kernel, strict=True)]
    if not any(taps):
        return
    wide = [k + 2 * t for k, t in zip(kernel, taps, strict=True)]
    padded = [p + t * d for p, t, d in zip(pads, taps, dilations, strict=True)]
    largest = [limits.conv1d_kernel if node.op == "QConv1d" else limits.conv2d_kernel.get(d, 0) for d in dilations]
    fits = all(k <= most and p <= min(limits.padding, k) for k, p, most in zip(wide, padded, largest, strict=True))
    if not fits:
        return
    weight = np.pad(graph.constants[node.inputs[1]], [(0, 0), (0, 0), *((t, t) for t in taps)])
    node.inputs[1] = graph.constant(node.inputs[1], weight)
    a["kernel_shape"], a["pads"] = wide, padded * 2
