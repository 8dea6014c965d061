"""LayerNorms of three axes, which the executor normalizes along the last."""

from __future__ import annotations

import math

from linger_jax.export.dialects.dialect import Destination
from linger_jax.export.onnx import OnnxGraph, reshape_at, reshape_output, shape_of
from linger_jax.kinds import onnx_operators as ops


def rows_of_layer_norms(graph: OnnxGraph, destination: Destination) -> None:
    """All normalized axes become one, and all others one of rows behind the sample."""
    del destination
    for node in [n for n in graph.nodes if n.operator is ops.LAYER_NORM_INT]:
        shape, count = shape_of(graph, node.inputs[0]), shape_of(graph, node.inputs[1])
        row = math.prod(count)
        merged = (1, math.prod(shape) // row, row)
        if shape == merged and len(count) == 1:
            continue
        place = graph.nodes.index(node)
        node.inputs = [
            reshape_at(graph, place, node.inputs[0], merged),
            *(reshape_at(graph, place, parameter, (row,)) for parameter in node.inputs[1:]),
        ]
        reshape_output(graph, node, merged)
