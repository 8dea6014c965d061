"""Convolutions that step further than their kernel reaches, which the packer refuses: a 1x1 of stride 2, for one."""

from __future__ import annotations

from linger_jax.export.dialects.thinker.padding import add_zero_taps
from linger_jax.export.dialects.thinker.rewriting import Target
from linger_jax.export.onnx import LINGER, GraphNode, OnnxGraph
from linger_jax.kinds import CONVOLUTIONS
from linger_jax.targets import Device


def kernels_as_wide_as_strides(graph: OnnxGraph, target: Target) -> None:
    """The kernel gains taps of weight zero, at either end as many as the padding grows by: the sums stay the same."""
    device = target.device
    if device is None:
        return
    for node in graph.nodes:
        if node.op in CONVOLUTIONS and node.domain == LINGER:
            _widen(graph, node, device)


def _widen(graph: OnnxGraph, node: GraphNode, device: Device) -> None:
    a = node.attributes
    kernel, strides, dilations = (list(map(int, a[key])) for key in ("kernel_shape", "strides", "dilations"))
    pads = list(map(int, a["pads"]))[: len(kernel)]
    taps = [max(0, (s - k + 1) // 2) for s, k in zip(strides, kernel, strict=True)]
    if not any(taps):
        return
    wide = [k + 2 * t for k, t in zip(kernel, taps, strict=True)]
    padded = [p + t * d for p, t, d in zip(pads, taps, dilations, strict=True)]
    largest = [device.largest_kernel(node.op, d) for d in dilations]
    fits = all(k <= most and p <= min(device.padding, k) for k, p, most in zip(wide, padded, largest, strict=True))
    if not fits:
        return
    add_zero_taps(graph, node, [(t, t) for t in taps])
    a["pads"] = padded * 2
