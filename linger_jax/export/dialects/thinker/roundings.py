"""Rounding down on chips that round half up (docs/specification/executor.md section 1).

Rounding down a sum is rounding half up a sum that is half a step less, and the bias of a layer can take the half step.
Where nothing is rounded, since the result's grid is at least as fine as the sum's, every mode is the same.
"""

from __future__ import annotations

from linger_jax.config import RoundMode
from linger_jax.export.dialects.dialect import Destination
from linger_jax.export.dialects.thinker.bias_shift import add_to_bias
from linger_jax.export.onnx import GraphNode, OnnxGraph
from linger_jax.kinds import Role
from linger_jax.kinds import onnx_operators as ops


def half_up_for_other_roundings(graph: OnnxGraph, destination: Destination) -> None:
    """``quant_mode`` is ``floor_add`` wherever the same integers can be had with it; others the device lint names."""
    del destination
    for node in graph.nodes:
        mode = node.attributes.get("quant_mode")
        if mode is None or node.operator is ops.QUANT or mode == RoundMode.floor_add.value:
            continue
        if _rounds_nothing(node) or (mode == RoundMode.floor.value and _half_a_step_less(graph, node)):
            node.attributes["quant_mode"] = RoundMode.floor_add.value


def _rounds_nothing(node: GraphNode) -> bool:
    a, op = node.attributes, node.operator
    if Role.bias in op.inputs:
        return bool(a["scale_x"] * a["scale_w"] <= a["scale_o"])
    if op in (ops.QMUL, ops.QBMM, ops.QMATMUL):
        return bool(a["scale_x"] * a["scale_y"] <= a["scale_o"])
    if op is ops.QADD:
        return bool(max(a["scale_x"], a["scale_y"]) <= a["scale_o"])
    if op is ops.QCAT:
        return all(a[f"scale_x_{i}"] <= a["scale_o"] for i in range(len(node.inputs)))
    return False


def _half_a_step_less(graph: OnnxGraph, node: GraphNode) -> bool:
    """Takes half a step of the result from the bias, if there is one and room in it."""
    a = node.attributes
    if Role.bias not in node.operator.inputs:
        return False
    return add_to_bias(graph, node, -round(a["scale_x"] * a["scale_w"] / a["scale_o"] / 2))
