"""Convolutions with more padding or a wider kernel: for Pad nodes, which the packer refuses, and for large strides."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from linger_jax.export.dialects.dialect import Destination
from linger_jax.export.onnx import GraphNode, Made, OnnxGraph, insert, makers, readers, shape_of, slice_constants
from linger_jax.kinds import onnx_operators as ops
from linger_jax.targets import Device, fits_one


@dataclasses.dataclass(frozen=True)
class Window:
    """One axis of a convolution that pads both ends alike and computes what an uneven one would.

    Attributes:
      pad: at both ends.
      before, after: taps of weight zero that the kernel gains at its ends.
      skip: results at the front that are no results of the uneven one.
    """

    pad: int
    before: int = 0
    after: int = 0
    skip: int = 0


def pads_in_convolutions(graph: OnnxGraph, destination: Destination) -> None:
    """Zero padding in front of convolutions becomes theirs.

    A convolution pads both ends alike. Where the ends differ, the kernel gains taps of weight zero at the end that has
    less; if that makes it too large, the results that are too many are sliced off.
    """
    for pad in [n for n in graph.nodes if n.operator is ops.PAD]:
        behind = readers(graph, pad.outputs[0])
        device = destination.device
        if device is not None and _is_zero(graph, pad) and all(_is_rewritten(n, device) for n in behind):
            for node in behind:
                low, high = _both_ends(graph, pad, node)
                node.inputs[0], node.attributes["pads"] = pad.inputs[0], [*low, *high]
            continue
        if not _is_zero(graph, pad) or any(n.operator not in ops.CONVOLUTIONS for n in behind):
            continue
        plans = {id(node): _windows(graph, pad, node, destination) for node in behind}
        if any(plan is None for plan in plans.values()):
            continue
        for node in behind:
            windows = plans[id(node)]
            assert windows is not None
            _absorb(graph, pad, node, windows)
    graph.drop_dead()


def _is_zero(graph: OnnxGraph, pad: GraphNode) -> bool:
    amounts = graph.constants[pad.inputs[1]].tolist()
    rank = len(amounts) // 2
    outer = [amounts[i] for i in (0, 1, rank, rank + 1)]
    return not any(outer) and float(graph.constants[pad.inputs[2]]) == 0


def _windows(graph: OnnxGraph, pad: GraphNode, node: GraphNode, destination: Destination) -> list[Window] | None:
    """One an axis, or None where the device has no such convolution."""
    device, a = destination.device, node.attributes
    if device is None:
        return None
    axes = len(a["kernel_shape"])
    low, high = _both_ends(graph, pad, node)
    windows = []
    for i in range(axes):
        kernel, dilation, stride = (int(a[key][i]) for key in ("kernel_shape", "dilations", "strides"))
        window = _window(low[i], high[i], dilation, stride, device.largest_kernel(node.op, dilation) - kernel)
        if window is None or window.pad > min(device.padding, kernel + window.before + window.after):
            return None
        windows.append(window)
    return windows


def _both_ends(graph: OnnxGraph, pad: GraphNode, node: GraphNode) -> tuple[list[int], list[int]]:
    """Padding in front of each axis and behind it, the convolution's own with that of the Pad."""
    amounts, own = graph.constants[pad.inputs[1]].tolist(), [int(p) for p in node.attributes["pads"]]
    axes, rank = len(own) // 2, len(amounts) // 2
    low = [p + amounts[2 + i] for i, p in enumerate(own[:axes])]
    return low, [p + amounts[rank + 2 + i] for i, p in enumerate(own[axes:])]


def _is_rewritten(node: GraphNode, device: Device) -> bool:
    """Whether the window is one that becomes other convolutions, which pad their ends unevenly."""
    if node.operator is not ops.QCONV2D:
        return False
    a = node.attributes
    windows = zip(a["kernel_shape"], a["strides"], a["dilations"], strict=True)
    return not all(d > 1 or fits_one(device, k, s) for k, s, d in windows)


def _window(low: int, high: int, dilation: int, stride: int, room: int) -> Window | None:
    taps, rest = divmod(abs(high - low), dilation)
    if low == high:
        return Window(low)
    if rest == 0 and taps <= room:
        return Window(high, before=taps) if high > low else Window(low, after=taps)
    if high > low and (high - low) % stride == 0:
        return Window(high, skip=(high - low) // stride)
    return Window(low) if low > high else None  # results that are too many at the end are cut off


def add_zero_taps(graph: OnnxGraph, node: GraphNode, taps: Sequence[tuple[int, int]]) -> None:
    """The kernel of a convolution gains taps of weight zero before and after its own, on each axis."""
    grown = np.pad(graph.constants[node.inputs[1]], [(0, 0), (0, 0), *taps])
    node.inputs[1] = graph.constant(node.inputs[1], grown)
    node.attributes["kernel_shape"] = list(grown.shape[2:])


def _absorb(graph: OnnxGraph, pad: GraphNode, node: GraphNode, windows: list[Window]) -> None:
    a = node.attributes
    add_zero_taps(graph, node, [(w.before, w.after) for w in windows])
    node.inputs[0] = pad.inputs[0]
    a["pads"] = [w.pad for w in windows] * 2
    plane = shape_of(graph, pad.inputs[0])[2:]
    full = [
        (n + 2 * w.pad - int(d) * (k - 1) - 1) // int(s) + 1
        for n, w, k, d, s in zip(plane, windows, a["kernel_shape"], a["dilations"], a["strides"], strict=True)
    ]
    wanted = graph.shapes[node.outputs[0]]
    cut = [i for i, size in enumerate(full) if size != wanted[2 + i]]
    if cut:
        _slice_behind(graph, node, (*wanted[:2], *full), {2 + i: windows[i].skip for i in cut})


def _slice_behind(graph: OnnxGraph, node: GraphNode, full: tuple[int, ...], starts: dict[int, int]) -> None:
    outer, wanted = node.outputs[0], graph.shapes[node.outputs[0]]
    assert math.prod(full) > math.prod(wanted)
    ends = [start + wanted[axis] for axis, start in starts.items()]
    constants = slice_constants(graph, list(starts.values()), ends, list(starts), [1] * len(starts))
    made = Made(shape=wanted, kind=graph.element_types[outer])
    inner = insert(graph, graph.nodes.index(node) + 1, ops.SLICE, [outer, *constants], made, label=node.label)
    cut = makers(graph)[inner]
    node.outputs[0], cut.inputs[0], cut.outputs[0] = inner, inner, outer
    graph.shapes[inner] = full


def kernels_as_wide_as_strides(graph: OnnxGraph, destination: Destination) -> None:
    """A kernel that reaches less far than its stride, which the packer refuses, gains taps of weight zero.

    At either end as many as the padding grows by: the sums stay the same. A 1x1 of stride 2 is one.
    """
    device = destination.device
    if device is None:
        return
    for node in graph.nodes:
        if node.operator in ops.CONVOLUTIONS:
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
