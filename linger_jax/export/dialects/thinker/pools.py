"""Average pools whose result lies on a finer grid than their operand: the executor cannot shift left there."""

from __future__ import annotations

import math

import numpy as np

from linger_jax.config import RoundMode
from linger_jax.export.dialects.dialect import Destination
from linger_jax.export.dialects.thinker.rescale import can_rescale, rescale
from linger_jax.export.lower import Grid
from linger_jax.export.onnx import GraphNode, OnnxGraph, replace_uses, reshape_at, reshape_output, shape_of
from linger_jax.kinds import onnx_operators as ops
from linger_jax.typing import HostArray

_POOLING = ("ceil_mode", "count_include_pad", "divisor_override")
_ONE = 64
_WIDTH = 8


def pools_on_their_grid(graph: OnnxGraph, destination: Destination) -> None:
    """The pool answers on its operand's grid, and a product with one brings that to the finer one.

    The chip divides by a power of two and re-scales in one rounding. Such a pool is a convolution of each channel with
    equal weights where the window is small enough, and a product with a row of them where it is the whole plane.
    """
    for node in [n for n in graph.nodes if n.operator is ops.QAVG_POOL2D]:
        a = node.attributes
        divisor = _divisor(node)
        if a["scale_o"] <= a["scale_x"] or divisor is None or (a["x_bits"], a["o_bits"]) != (_WIDTH, _WIDTH):
            continue
        if divisor & (divisor - 1):
            _keep_scale(graph, node)
        elif a["quant_mode"] != RoundMode.floor_add.value:
            continue
        elif _is_convolution(node, destination):
            _convolve(graph, node, divisor)
        elif tuple(a["kernel_shape"]) == shape_of(graph, node.inputs[0])[2:] and not any(a["pads"]):
            _contract(graph, node, divisor)


def pools_of_the_plane(graph: OnnxGraph, destination: Destination) -> None:
    """An average over the whole plane has stride 2 and a padding that its one window does not reach.

    Executors cut one without padding into pieces, and average each where the plane is large beside the channels.
    """
    if destination.device is None:
        return
    for node in [n for n in graph.nodes if n.operator is ops.QAVG_POOL2D]:
        a, plane = node.attributes, shape_of(graph, node.inputs[0])[2:]
        if tuple(a["kernel_shape"]) != plane or any(a["pads"]) or _divisor(node) != math.prod(plane):
            continue
        long = [int(side > 1) for side in plane]
        a |= {"strides": [1 + more for more in long], "pads": [0, 0, *long], "count_include_pad": 1}


def _divisor(node: GraphNode) -> int | None:
    """The one number that every window divides by, or None where they differ."""
    a = node.attributes
    if a["ceil_mode"] or (any(a["pads"]) and not a["count_include_pad"]):
        return None
    return int(a["divisor_override"]) if a["divisor_override"] > 0 else math.prod(a["kernel_shape"])


def _keep_scale(graph: OnnxGraph, node: GraphNode) -> None:
    a = node.attributes
    before, after = Grid(a["scale_x"], a["x_bits"]), Grid(a["scale_o"], a["o_bits"])
    if not can_rescale(before, after):
        return
    outer, place = node.outputs[0], graph.nodes.index(node) + 1
    a["scale_o"] = a["scale_x"]
    finer = rescale(graph, place, outer, before, after, node.label, a["quant_mode"])
    replace_uses(graph, outer, finer, within=[n for n in graph.nodes if n is not graph.nodes[place]])


def _is_convolution(node: GraphNode, destination: Destination) -> bool:
    device, a = destination.device, node.attributes
    if device is None:
        return False
    window = zip(a["kernel_shape"], a["strides"], a["pads"], strict=False)
    return all(
        k <= device.largest_kernel(ops.QCONV2D.name, 1) and s <= k and s in device.strides and p <= k
        for k, s, p in window
    )


def _convolve(graph: OnnxGraph, node: GraphNode, divisor: int) -> None:
    a = node.attributes
    channels = shape_of(graph, node.inputs[0])[1]
    weight = np.full((channels, 1, *a["kernel_shape"]), _ONE, np.int8)
    node.operator, node.inputs = ops.QCONV2D, [node.inputs[0], graph.constant(_name(weight), weight)]
    for gone in _POOLING:
        del a[gone]
    a |= {"dilations": [1, 1], "group": channels, "w_bits": _WIDTH, "scale_w": float(_ONE * divisor)}


def _contract(graph: OnnxGraph, node: GraphNode, divisor: int) -> None:
    a, place = node.attributes, graph.nodes.index(node)
    batch, channels, *plane = shape_of(graph, node.inputs[0])
    weight = np.full((1, math.prod(plane)), _ONE, np.int8)
    rows = reshape_at(graph, place, node.inputs[0], (batch, channels, math.prod(plane)))
    node.operator, node.inputs = ops.QLINEAR, [rows, graph.constant(_name(weight), weight)]
    for gone in (*_POOLING, "kernel_shape", "strides", "pads"):
        del a[gone]
    a |= {"w_bits": _WIDTH, "scale_w": float(_ONE * divisor)}
    reshape_output(graph, node, (batch, channels, 1))


def _name(weight: HostArray) -> str:
    return "average_" + "x".join(map(str, weight.shape))
