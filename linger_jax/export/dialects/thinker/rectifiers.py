"""ReLU6 without Clip, which the packer always refuses."""

from __future__ import annotations

from typing import Any

import numpy as np

from linger_jax.config import RoundMode
from linger_jax.export.dialects.dialect import Destination
from linger_jax.export.dialects.thinker.bias_shift import add_to_bias
from linger_jax.export.dialects.thinker.rescale import grid_of, platform_of
from linger_jax.export.lower import Grid
from linger_jax.export.onnx import GraphNode, Made, OnnxGraph, insert, integer_type, makers, uses
from linger_jax.kinds import Role
from linger_jax.kinds import onnx_operators as ops
from linger_jax.numerics import EXACT_BITS

# Rounding that commutes with adding whole steps: ties do not look at the neighbours.
_SHIFTS = (RoundMode.floor_add.value, RoundMode.floor.value)
_IMAGE_RANK = 4


def rectifiers_for_clips(graph: OnnxGraph, destination: Destination) -> None:
    """A Clip to [0, 6] is a Relu where the width saturates at 6 anyway.

    Else the width is made to saturate there: the values go up by what lies between 6 and the largest integer, which
    cuts them, and down again. The way up is part of the bias of the layer before, where there is one.
    """
    del destination
    for node in [n for n in graph.nodes if n.operator is ops.CLIP]:
        grid = grid_of(graph, node.inputs[0])
        bounds = [graph.constants.get(name) for name in node.inputs[1:]]
        if grid is None or len(bounds) != 2 or bounds[0] is None or bounds[1] is None or float(bounds[0]) != 0:
            continue
        largest = 2 ** (grid.bits - 1) - 1
        above = largest - int(np.floor(float(bounds[1]) * grid.scale + 0.5))
        tensor = node.inputs[0]
        if above > 0 and grid.bits > EXACT_BITS:
            continue  # evaluation rounds what was raised
        if above > 0:
            tensor = _raised(graph, node, tensor, grid, above)
            tensor = _shifted(graph, node, tensor, grid, -above)
        node.operator, node.inputs = ops.RELU, [tensor]


def _raised(graph: OnnxGraph, node: GraphNode, tensor: str, grid: Grid, steps: int) -> str:
    """min(x, largest - steps) + steps, by saturation: in the bias of the layer before, where nobody else reads it."""
    layer = makers(graph)[tensor]
    alone = uses(graph)[tensor] == 1 and Role.bias in layer.operator.inputs
    if not alone or layer.attributes["quant_mode"] not in _SHIFTS:
        return _shifted(graph, node, tensor, grid, steps)
    a = layer.attributes
    unit = a["scale_x"] * a["scale_w"] / a["scale_o"]
    if unit < 1 or not add_to_bias(graph, layer, round(steps * unit)):
        return _shifted(graph, node, tensor, grid, steps)
    return tensor


def _shifted(graph: OnnxGraph, node: GraphNode, tensor: str, grid: Grid, steps: int) -> str:
    """x + steps, saturated: a batch normalization of an image, an addition of a constant elsewhere."""
    shape, one = graph.shapes[tensor], 2 ** (grid.bits - 2)
    kind = integer_type(grid.bits)
    attributes: dict[str, Any] = {"platform": platform_of(graph), "quant_mode": RoundMode.floor_add.value}
    attributes |= {"x_bits": grid.bits, "scale_x": grid.scale, "o_bits": grid.bits, "scale_o": grid.scale}
    if len(shape) == _IMAGE_RANK and kind == "int8":
        operator = ops.QBATCH_NORM2D
        alpha, beta = np.full(shape[1], one, kind), np.full(shape[1], steps * one, np.int32)
        constants = {"six_weight": alpha, "six_bias": beta}
        attributes |= {"w_bits": grid.bits, "scale_w": float(one)}
    else:
        operator, constants = ops.QADD, {"six": np.full(shape, steps, kind)}
        attributes |= {"y_bits": grid.bits, "scale_y": grid.scale}
    inputs = [tensor, *(graph.constant(f"{node.label}.{name}", value) for name, value in constants.items())]
    made = Made(shape=shape, kind=kind)
    place = graph.nodes.index(node)
    return insert(graph, place, operator, inputs, made, attributes=attributes, label=node.label)
