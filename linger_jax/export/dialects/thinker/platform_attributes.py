"""Attributes that the packer wants on some chips."""

from __future__ import annotations

from linger_jax.export.dialects.thinker.rewriting import Target
from linger_jax.export.onnx import LINGER, OnnxGraph
from linger_jax.targets import PlatformQuant

ROUNDS_AS = "luna_quant"
"""The packer's name for the rounding of the chip."""
_WITHOUT = frozenset({"Quant", "Dequant", "Gather", "Squeeze"})


def add_platform_attributes(graph: OnnxGraph, target: Target) -> None:
    """Where the packer asks for it ``platform_quant``, and ``dim`` beside a softmax's ``axis``."""
    if target.device is None or target.device.platform_quant is PlatformQuant.unused:
        return
    for node in graph.nodes:
        if node.domain != LINGER or node.op in _WITHOUT:
            continue
        node.attributes["platform_quant"] = ROUNDS_AS
        if node.op == "QSoftmax":
            node.attributes["dim"] = node.attributes["axis"]
