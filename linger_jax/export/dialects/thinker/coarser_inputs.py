"""Scale and width of any integer tensor of a graph."""

from __future__ import annotations

from linger_jax.export.lower import Grid
from linger_jax.export.onnx import LINGER, OnnxGraph, makers


def grid_of(graph: OnnxGraph, tensor: str) -> Grid | None:
    """The grid that a tensor's integers lie on: that of the node of linger's domain that made them, moves passed over.

    None for floats, constants and graph inputs.
    """
    made_by = makers(graph)
    while tensor in made_by:
        node = made_by[tensor]
        a = node.attributes
        if node.domain != LINGER or node.op == "Squeeze":
            tensor = node.inputs[0]
        elif node.op == "Quant":
            return Grid(a["scale_x"], a["data_bits"])
        elif node.op == "Gather":
            return Grid(a["scale_w"], a["w_bits"])
        elif node.op == "Dequant" or tensor != node.outputs[0]:
            return None
        else:
            return Grid(a["scale_o"], a["o_bits"])
    return None
