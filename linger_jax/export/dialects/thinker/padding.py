"""Pad nodes, which the packer refuses, inside the convolution behind them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from linger_jax.export.dialects.thinker.rewriting import Target
from linger_jax.export.onnx import LINGER, GraphNode, Made, OnnxGraph, insert, makers, readers, shape_of
from linger_jax.kinds import CONVOLUTIONS


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


def pads_in_convolutions(graph: OnnxGraph, target: Target) -> None:
    """Zero padding in front of convolutions becomes theirs.

    A convolution pads both ends alike. Where the ends differ, the kernel gains taps of weight zero at the end that has
    less; if that makes it too large, the results that are too many are sliced off.
    """
    for pad in [n for n in graph.nodes if n.op == "Pad"]:
        behind = readers(graph, pad.outputs[0])
        if not _is_zero(graph, pad) or any(n.op not in CONVOLUTIONS or n.domain != LINGER for n in behind):
            continue
        plans = {id(node): _windows(graph, pad, node, target) for node in behind}
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


def _windows(graph: OnnxGraph, pad: GraphNode, node: GraphNode, target: Target) -> list[Window] | None:
    """One an axis, or None where the device has no such convolution."""
    device, a = target.device, node.attributes
    if device is None:
        return None
    axes = len(a["kernel_shape"])
    amounts = graph.constants[pad.inputs[1]].tolist()
    low = [int(p) + amounts[2 + i] for i, p in enumerate(a["pads"][:axes])]
    high = [int(p) + amounts[len(amounts) // 2 + 2 + i] for i, p in enumerate(a["pads"][axes:])]
    windows = []
    for i in range(axes):
        kernel, dilation, stride = (int(a[key][i]) for key in ("kernel_shape", "dilations", "strides"))
        window = _window(low[i], high[i], dilation, stride, device.largest_kernel(node.op, dilation) - kernel)
        if window is None or window.pad > min(device.padding, kernel + window.before + window.after):
            return None
        windows.append(window)
    return windows


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
    rows = {
        "starts": list(starts.values()),
        "ends": [start + wanted[axis] for axis, start in starts.items()],
        "axes": list(starts),
        "steps": [1] * len(starts),
    }
    constants = [
        graph.constant(f"{key}_" + "_".join(map(str, row)), np.asarray(row, np.int64)) for key, row in rows.items()
    ]
    made = Made(shape=wanted, kind=graph.element_types[outer])
    inner = insert(graph, graph.nodes.index(node) + 1, "Slice", [outer, *constants], made, label=node.label)
    cut = makers(graph)[inner]
    node.outputs[0], cut.inputs[0], cut.outputs[0] = inner, inner, outer
    graph.shapes[inner] = full
