"""Results on a finer grid than what they are made of, which no executor shifts to the left by itself.

A product's sums are saturated on their own grid and brought to the finer one by a Requant, which shifts either way:
saturating first changes nothing, since what was cut is cut on the finer grid as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from linger_jax.config import RoundMode
from linger_jax.export.dialects.dialect import Destination
from linger_jax.export.dialects.thinker.rescale import platform_of
from linger_jax.export.onnx import GraphNode, Made, OnnxGraph, insert, integer_type, shape_of
from linger_jax.kinds import Role
from linger_jax.kinds import onnx_operators as ops
from linger_jax.targets import FARTHEST_LEFT_SHIFT

_WIDTH = 8
"""Bits of what a Requant brings to a finer grid; wider integers have none that an executor computes."""


def requants_for_left_shifts(graph: OnnxGraph, destination: Destination) -> None:
    """A product is made on the grid of its sums where the result's is finer; a far part of a QCat comes nearer."""
    if destination.device is None:
        return
    for node in list(graph.nodes):
        if node.operator is ops.QCAT:
            _parts(graph, node)
        elif node.operator in ops.PRODUCTS | ops.WITH_BIAS | {ops.QMUL}:
            _product(graph, node)


def _product(graph: OnnxGraph, node: GraphNode) -> None:
    a = node.attributes
    sums, after = a["scale_x"] * a["scale_w" if Role.bias in node.operator.inputs else "scale_y"], a["scale_o"]
    if sums >= after or a["o_bits"] != _WIDTH:
        return
    a["scale_o"] = sums
    result, place = node.outputs[0], graph.nodes.index(node) + 1
    made = _requants(graph, place, result, sums, after, node.label)
    node.outputs[0] = made[0].inputs[0] = made[-1].outputs[0]
    made[-1].outputs[0] = result


def _parts(graph: OnnxGraph, node: GraphNode) -> None:
    a = node.attributes
    for i, tensor in enumerate(node.inputs):
        before, after = a[f"scale_x_{i}"], a["scale_o"] / FARTHEST_LEFT_SHIFT
        if before >= after or a[f"x_{i}_bits"] != _WIDTH or tensor in graph.constants:
            continue
        made = _requants(graph, graph.nodes.index(node), tensor, before, after, node.label)
        node.inputs[i], a[f"scale_x_{i}"] = made[-1].outputs[0], after


def _requants(
    graph: OnnxGraph, place: int, tensor: str, before: float, after: float, label: str
) -> Sequence[GraphNode]:
    """Nodes from ``place`` on that bring integers from one scale to a larger one, no farther at once than is right."""
    made = Made(shape=shape_of(graph, tensor), kind=integer_type(_WIDTH))
    first = place
    while before < after:
        finer = min(after, before * FARTHEST_LEFT_SHIFT)
        attributes: dict[str, Any] = {"platform": platform_of(graph), "quant_mode": RoundMode.floor_add.value}
        attributes |= {"data_bits": _WIDTH, "o_bits": _WIDTH, "scale_x": before, "scale_o": finer}
        tensor = insert(graph, place, ops.REQUANT, [tensor], made, attributes=attributes, label=label)
        before, place = finer, place + 1
    return graph.nodes[first:place]
