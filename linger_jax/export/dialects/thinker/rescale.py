"""Integers on another grid, by operators that the device computes to the bit: a product with one."""

from __future__ import annotations

from typing import Any

import numpy as np

from linger_jax.config import RoundMode
from linger_jax.export.lower import Grid
from linger_jax.export.onnx import Made, OnnxGraph, insert, integer_type, makers
from linger_jax.kinds import onnx_operators as ops

_IMAGE_RANK = 4


def platform_of(graph: OnnxGraph) -> str:
    """The chip that the nodes name."""
    return str(next(n.attributes["platform"] for n in graph.nodes if "platform" in n.attributes))


def grid_of(graph: OnnxGraph, tensor: str) -> Grid | None:
    """The grid that a tensor's integers lie on: that of the node of the field that made them, moves passed over.

    None for floats, constants and graph inputs, and behind a recurrent layer whose values lie on another grid than it
    states (docs/codes.md R7).
    """
    made_by = makers(graph)
    while tensor in made_by:
        node = made_by[tensor]
        if node.operator in ops.RECURRENT and node.attributes["scale_h"] != node.attributes["scale_o"]:
            return None
        if node.operator.result_grid is not None and tensor == node.outputs[0]:
            scale, bits = node.operator.result_grid
            return Grid(node.attributes[scale], node.attributes[bits])
        if not node.operator.passes_grid:
            return None
        tensor = node.inputs[0]
    return None


def parts_of_one_grid(grid: Grid, count: int) -> dict[str, Any]:
    """Attributes of a ``QCat`` of so many parts that lie on the grid of the result."""
    parts: dict[str, Any] = {"o_bits": grid.bits, "scale_o": grid.scale}
    for i in range(count):
        parts |= {f"x_{i}_bits": grid.bits, f"scale_x_{i}": grid.scale}
    return parts


def can_rescale(before: Grid, after: Grid) -> bool:
    """Whether ``rescale`` can: the product's grid is at least as fine as the result's."""
    return before.scale * _one(before) >= after.scale


def rescale(
    graph: OnnxGraph,
    place: int,
    tensor: str,
    before: Grid,
    after: Grid,
    label: str,
    mode: str = RoundMode.floor_add.value,
) -> str:
    """A tensor's real numbers on another grid, rounded and saturated as a Quant would.

    A batch normalization of an image; elsewhere a product with a constant of the tensor's shape, since the executor is
    known to be right for that.

    Args:
      graph: is changed.
      place: index of the new node.
      tensor: integers of the grid ``before``.
      before, after: the grids.
      label: module path for the node.
      mode: rounding.
    """
    shape, one = graph.shapes[tensor], _one(before)
    kind = integer_type(before.bits)
    attributes: dict[str, Any] = {"platform": platform_of(graph), "quant_mode": mode}
    attributes |= {"x_bits": before.bits, "scale_x": before.scale, "o_bits": after.bits, "scale_o": after.scale}
    if len(shape) == _IMAGE_RANK and kind == "int8":
        operator = ops.QBATCH_NORM2D
        constants = {f"one_{shape[1]}": np.full(shape[1], one, kind), f"zero_{shape[1]}": np.zeros(shape[1], np.int32)}
        attributes |= {"w_bits": before.bits, "scale_w": float(one)}
    else:
        operator, constants = ops.QMUL, {"one_" + "x".join(map(str, shape)): np.full(shape, one, kind)}
        attributes |= {"y_bits": before.bits, "scale_y": float(one)}
    inputs = [tensor, *(graph.constant(name, value) for name, value in constants.items())]
    made = Made(shape=shape, kind=integer_type(after.bits))
    return insert(graph, place, operator, inputs, made, attributes=attributes, label=label)


def _one(grid: Grid) -> int:
    return int(2 ** (grid.bits - 2))
