"""Split and Pad, which the packer cannot read, as Slices and QCats; QCat as every executor computes it rightly."""

from __future__ import annotations

from typing import Any

import numpy as np

from linger_jax.config import RoundMode
from linger_jax.export.dialects.dialect import Destination
from linger_jax.export.dialects.thinker.rescale import grid_of, parts_of_one_grid, platform_of, rescale
from linger_jax.export.lower import Grid
from linger_jax.export.onnx import Made, OnnxGraph, insert, kind_of, shape_of, slice_constants
from linger_jax.kinds import onnx_operators as ops

_WIDTH = 8
"""Bits of what is padded."""


def slices_for_splits(graph: OnnxGraph, destination: Destination) -> None:
    """Every part of a Split is a Slice of its input."""
    del destination
    for node in [n for n in graph.nodes if n.operator is ops.SPLIT]:
        place, axis = graph.nodes.index(node), int(node.attributes["axis"])
        graph.nodes.remove(node)
        edges = np.cumsum([0, *node.attributes["split"]]).tolist()
        for start, end, tensor in zip(edges[:-1], edges[1:], node.outputs, strict=True):
            constants = slice_constants(graph, [start], [end], [axis], [1])
            made = Made(shape=graph.shapes[tensor], kind=kind_of(graph, tensor))
            insert(graph, place, ops.SLICE, [node.inputs[0], *constants], made, label=node.label)
            graph.nodes[place].outputs = [tensor]
            place += 1


def concatenations_for_pads(graph: OnnxGraph, destination: Destination) -> None:
    """A Pad that is no part of a convolution joins blocks of its value to its input, one axis after the other."""
    del destination
    for node in [n for n in graph.nodes if n.operator is ops.PAD]:
        grid, amounts = grid_of(graph, node.inputs[0]), graph.constants[node.inputs[1]].tolist()
        rank = len(amounts) // 2
        ends = list(zip(range(rank), amounts[:rank], amounts[rank:], strict=True))
        if grid is None or grid.bits != _WIDTH:
            continue
        fill = int(graph.constants[node.inputs[2]] * grid.scale)
        place, tensor = graph.nodes.index(node), node.inputs[0]
        for axis, low, high in [end for end in ends if any(end[1:])]:
            tensor = _extended(graph, place, tensor, grid, (axis, low, high), fill, node.label)
            place += 1
        graph.nodes.remove(node)
        graph.nodes[place - 1].outputs = node.outputs


def _extended(
    graph: OnnxGraph, place: int, tensor: str, grid: Grid, ends: tuple[int, int, int], fill: int, label: str
) -> str:
    """A tensor with so many steps of a value in front of an axis and behind it."""
    shape, (axis, low, high) = list(shape_of(graph, tensor)), ends

    def block(count: int) -> list[str]:
        extent = [*shape[:axis], count, *shape[axis + 1 :]]
        name = f"pad_{fill}_" + "x".join(map(str, extent))
        return [graph.constant(name, np.full(extent, fill, np.int8))] if count else []

    parts = [*block(low), tensor, *block(high)]
    attributes: dict[str, Any] = {"platform": platform_of(graph), "quant_mode": RoundMode.floor_add.value, "axis": axis}
    attributes |= parts_of_one_grid(grid, len(parts))
    made = Made(shape=(*shape[:axis], low + shape[axis] + high, *shape[axis + 1 :]), kind="int8")
    return insert(graph, place, ops.QCAT, parts, made, attributes=attributes, label=label)


def operands_on_the_result_grid(graph: OnnxGraph, destination: Destination) -> None:
    """Operands on a finer grid are brought to the result's in front of a concatenation, rounded as it would.

    Some executors only shift left there.
    """
    if destination.device is None or not destination.device.executor.concatenation_only_shifts_left:
        return
    for node in [n for n in graph.nodes if n.operator is ops.QCAT]:
        a = node.attributes
        after = Grid(a["scale_o"], a["o_bits"])
        for i, tensor in enumerate(node.inputs):
            before = Grid(a[f"scale_x_{i}"], a[f"x_{i}_bits"])
            if before.scale <= after.scale or tensor in graph.constants:
                continue
            place = graph.nodes.index(node)
            node.inputs[i] = rescale(graph, place, tensor, before, after, node.label, a["quant_mode"])
            a[f"scale_x_{i}"], a[f"x_{i}_bits"] = after.scale, after.bits
