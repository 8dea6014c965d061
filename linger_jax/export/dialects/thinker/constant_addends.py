"""Constants in additions, in the forms that the executors compute."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from linger_jax.export.dialects.dialect import Destination
from linger_jax.export.onnx import GraphNode, Made, OnnxGraph, insert, kind_of
from linger_jax.kinds import onnx_operators as ops
from linger_jax.numerics import EXACT_BITS
from linger_jax.typing import HostArray

_FINER = 2
"""How much finer than the result a constant is written: rounding by a factor of two gives the steps back."""
_EXCHANGED = {"scale_x": "scale_y", "scale_y": "scale_x", "x_bits": "y_bits", "y_bits": "x_bits"}


def constants_in_additions(graph: OnnxGraph, destination: Destination) -> None:
    """A constant that is added lies on a finer grid where nothing else does.

    An executor that adds a constant without shifting anything never returns.
    """
    if destination.device is None or not destination.device.executor.addition_of_constant_hangs:
        return
    for node in [n for n in graph.nodes if n.operator is ops.QADD]:
        if node.inputs[0] in graph.constants:
            node.inputs.reverse()
            node.attributes = {_EXCHANGED.get(name, name): value for name, value in node.attributes.items()}
        if node.inputs[1] not in graph.constants or node.inputs[0] in graph.constants:
            continue
        exact = node.attributes["o_bits"] <= EXACT_BITS  # evaluation rounds what has more, so parts of it are not it
        if exact and len({node.attributes[scale] for scale in ("scale_x", "scale_y", "scale_o")}) == 1:
            _add_in_parts(graph, node, node.inputs[1])


def _add_in_parts(graph: OnnxGraph, node: GraphNode, name: str) -> None:
    """One addition for each part of the constant, twice as fine.

    All parts of an element have its sign, so that a sum which saturates on the way would do so in the end.
    """
    a, tensor = node.attributes, node.inputs[0]
    *first, last = _parts(graph.constants[name], a["y_bits"])
    a["scale_y"] *= _FINER
    for part in first:
        made = Made(shape=graph.shapes[node.outputs[0]], kind=kind_of(graph, node.outputs[0]))
        place, inputs = graph.nodes.index(node), [tensor, graph.constant(name, part)]
        tensor = insert(graph, place, ops.QADD, inputs, made, attributes=a, label=node.label)
    node.inputs = [tensor, graph.constant(name, last)]


def _parts(steps: HostArray, bits: int) -> Iterator[HostArray]:
    """Constants twice as fine whose sum is this one; each within the width."""
    rest = steps.astype(np.int64)
    while True:
        part = np.clip(rest, -(2 ** (bits - 1)) // _FINER, (2 ** (bits - 1) - 1) // _FINER)
        yield (part * _FINER).astype(steps.dtype)
        rest = rest - part
        if not rest.any():
            return
