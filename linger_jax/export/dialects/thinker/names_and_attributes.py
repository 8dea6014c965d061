"""The packer's names of operators, and the attributes that it wants on some chips."""

from __future__ import annotations

from linger_jax.export.dialects.dialect import Destination
from linger_jax.export.onnx import OnnxGraph
from linger_jax.kinds import onnx_operators as ops
from linger_jax.targets import PlatformQuant

ROUNDS_AS = "luna_quant"
"""The packer's name for the rounding of the chip."""


def rename(graph: OnnxGraph, destination: Destination) -> None:
    """Operators whose name the packer cannot translate get its own, or that of another that computes the same."""
    del destination
    for node in graph.nodes:
        if node.operator.same_as is not None:
            node.operator = node.operator.same_as
        if node.operator.packing.name is not None and not node.operator.packing.takes_name:
            node.written_as = node.operator.packing.name


def add_platform_attributes(graph: OnnxGraph, destination: Destination) -> None:
    """Where the packer asks for it ``platform_quant``, and ``dim`` beside a softmax's ``axis``."""
    if destination.device is None or destination.device.platform_quant is PlatformQuant.unused:
        return
    for node in graph.nodes:
        if node.operator.states_rounding:
            node.attributes["platform_quant"] = ROUNDS_AS
        if node.operator is ops.QSOFTMAX:
            node.attributes["dim"] = node.attributes["axis"]
