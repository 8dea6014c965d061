"""A weight of its own for every product: executors lay one weight out for the bias of one of its readers."""

from __future__ import annotations

from linger_jax.export.dialects.dialect import Destination
from linger_jax.export.onnx import OnnxGraph
from linger_jax.kinds import Role
from linger_jax.kinds import onnx_operators as ops


def a_weight_a_node(graph: OnnxGraph, destination: Destination) -> None:
    """A stored weight that several nodes read with different biases is stored for each."""
    if destination.device is None:
        return
    first: dict[str, list[str]] = {}
    for node in [n for n in graph.nodes if n.operator in ops.WITH_BIAS]:
        place = node.operator.inputs.index(Role.weight)
        weight, biases = node.inputs[place], node.inputs[place + 1 :]
        if first.setdefault(weight, biases) == biases:
            continue
        number = 1
        while (name := f"{weight}_{number}") in graph.constants:
            number += 1
        graph.constants[name] = graph.constants[weight]
        node.inputs[place] = name
