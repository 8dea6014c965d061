"""Operators that the packer knows by another name than linger's."""

from __future__ import annotations

from linger_jax.export.dialects.thinker.rewriting import Target
from linger_jax.export.onnx import LINGER, OnnxGraph

PACKER_NAMES = {"QLayerNorm": "LayerNormInt", "QMatmul": "QBmm", "QGLU": "GluInt"}


def rename(graph: OnnxGraph, target: Target) -> None:
    """Renames nodes to the names that the packer knows."""
    del target
    for node in graph.nodes:
        if node.domain == LINGER:
            node.op = PACKER_NAMES.get(node.op, node.op)
