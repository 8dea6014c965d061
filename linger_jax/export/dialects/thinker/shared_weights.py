"""A stored operand of its own for every node that computes with it, where executors mix up its readers."""

from __future__ import annotations

from linger_jax.export.dialects.dialect import Destination
from linger_jax.export.onnx import OnnxGraph
from linger_jax.kinds import Role
from linger_jax.kinds import onnx_operators as ops


def a_weight_a_node(graph: OnnxGraph, destination: Destination) -> None:
    """A stored weight that several nodes read with different biases is stored for each.

    Executors lay one weight out for the bias of one of its readers.
    """
    if destination.device is None:
        return
    first: dict[str, list[str]] = {}
    for node in [n for n in graph.nodes if n.operator in ops.WITH_BIAS]:
        place = node.operator.inputs.index(Role.weight)
        weight, biases = node.inputs[place], node.inputs[place + 1 :]
        if first.setdefault(weight, biases) != biases:
            node.inputs[place] = _again(graph, weight)


def an_addend_a_node(graph: OnnxGraph, destination: Destination) -> None:
    """A stored operand that several additions read is stored for each: an executor loses it behind the second."""
    if destination.device is None:
        return
    read: set[str] = set()
    for node in [n for n in graph.nodes if n.operator is ops.QADD]:
        for place, name in enumerate(node.inputs):
            if name in read:
                node.inputs[place] = _again(graph, name)
            elif name in graph.constants:
                read.add(name)


def _again(graph: OnnxGraph, name: str) -> str:
    """A second copy of a constant."""
    number = 1
    while (copy := f"{name}_{number}") in graph.constants:
        number += 1
    graph.constants[copy] = graph.constants[name]
    return copy
