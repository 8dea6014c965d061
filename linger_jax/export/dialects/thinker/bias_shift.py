"""A constant that is added to a layer's sum, by its bias."""

from __future__ import annotations

import numpy as np

from linger_jax.export.onnx import GraphNode, OnnxGraph
from linger_jax.kinds import onnx_operators as ops

_LARGEST = 2**31


def add_to_bias(graph: OnnxGraph, layer: GraphNode, steps: int) -> bool:
    """Adds to every element of a layer's bias, or gives it one; whether the sum fits in int32.

    Args:
      graph: is changed.
      layer: of an operator that takes a bias; as it was where the sum does not fit.
      steps: on the grid of the layer's products.
    """
    outputs = graph.shapes[layer.outputs[0]][-1 if layer.operator is ops.QLINEAR else 1]
    before = graph.constants[layer.inputs[2]] if len(layer.inputs) > 2 else np.zeros(outputs, np.int32)
    bias = before.astype(np.int64) + steps
    if np.abs(bias).max() >= _LARGEST:
        return False
    name = layer.inputs[2] if len(layer.inputs) > 2 else f"{layer.inputs[1].rpartition('.')[0]}.bias"
    layer.inputs = [*layer.inputs[:2], graph.constant(name, bias.astype(np.int32))]
    return True
