"""Concatenations whose operands lie on a finer grid than their result: some executors only shift left there."""

from __future__ import annotations

from linger_jax.export.dialects.thinker.rescale import rescale
from linger_jax.export.dialects.thinker.rewriting import Target
from linger_jax.export.lower import Grid
from linger_jax.export.onnx import LINGER, OnnxGraph


def operands_on_the_result_grid(graph: OnnxGraph, target: Target) -> None:
    """Finer operands are brought to the result's grid in front of the concatenation, rounded as it would."""
    if target.device is None or not target.device.executor.concatenation_only_shifts_left:
        return
    for node in [n for n in graph.nodes if n.op == "QCat" and n.domain == LINGER]:
        a = node.attributes
        after = Grid(a["scale_o"], a["o_bits"])
        for i, tensor in enumerate(node.inputs):
            before = Grid(a[f"scale_x_{i}"], a[f"x_{i}_bits"])
            if before.scale <= after.scale or tensor in graph.constants:
                continue
            place = graph.nodes.index(node)
            node.inputs[i] = rescale(graph, place, tensor, before, after, node.label, a["quant_mode"])
            a[f"scale_x_{i}"], a[f"x_{i}_bits"] = after.scale, after.bits
