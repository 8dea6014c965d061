"""Recurrent layers as the executor reads them: one sample, time on axis 1, no float states."""

from __future__ import annotations

import numpy as np

from linger_jax.export.dialects.dialect import Destination
from linger_jax.export.onnx import (
    Made,
    OnnxGraph,
    index_constant,
    insert,
    integer_type,
    reshape_at,
    reshape_output,
    shape_of,
    uses,
)
from linger_jax.kinds import RECURRENT_WEIGHT, is_executor_gru
from linger_jax.kinds import onnx_operators as ops

_OUTPUT, _HIDDEN = 0, 1
_WITHOUT_BIASES = 3


def both_biases(graph: OnnxGraph, destination: Destination) -> None:
    """The packer reads four parameters of a layer: biases that a layer does not have are zero."""
    del destination
    for node in [n for n in graph.nodes if n.operator in ops.RECURRENT]:
        if len(node.inputs) == _WITHOUT_BIASES:
            zeros = np.zeros(graph.constants[node.inputs[1]].shape[0], np.int32)
            node.inputs += [graph.constant(f"no_{name}_{zeros.size}", zeros) for name in ("bias_ih", "bias_hh")]


def one_sequence(graph: OnnxGraph, destination: Destination) -> None:
    """A layer takes ``[1, time, features]`` with ``batch_first`` 0: the executor reads the length from axis 1 then.

    A sequence with its time first is reshaped around the node; that moves nothing, since there is one sample. The
    executor's GRU reads ``batch_first`` as it is meant.
    """
    del destination
    recurrent = [n for n in graph.nodes if n.operator in ops.RECURRENT]
    for node in [n for n in recurrent if not is_executor_gru(n.operator, shape_of(graph, n.inputs[RECURRENT_WEIGHT]))]:
        shape = shape_of(graph, node.inputs[0])
        batch_first = bool(node.attributes["batch_first"])
        if shape[0 if batch_first else 1] != 1:
            continue
        node.attributes["batch_first"] = 0
        if batch_first or shape[0] == 1:
            continue
        steps, _, features = shape
        node.inputs[0] = reshape_at(graph, graph.nodes.index(node), node.inputs[0], (1, steps, features))
        reshape_output(graph, node, (1, steps, int(node.attributes["hidden_size"])))


def last_state_of_output(graph: OnnxGraph, destination: Destination) -> None:
    """The final hidden state is the last step of the outputs: integers, where the node's own output would be a float.

    The first step of a layer that runs backwards. A cell state that is read stays: nothing else holds it.
    """
    del destination
    for node in [n for n in graph.nodes if n.operator in ops.RECURRENT]:
        state, a = node.outputs[_HIDDEN], node.attributes
        if not uses(graph)[state] or a["scale_h"] != a["scale_o"]:
            continue
        _, steps, features = shape_of(graph, node.outputs[_OUTPUT])
        step = steps - 1 if a["go_forward"] else 0
        index = index_constant(graph, step)
        made = Made(shape=(1, features), kind=integer_type(a["o_bits"]))
        place = graph.nodes.index(node) + 1
        last = insert(
            graph, place, ops.GATHER, [node.outputs[_OUTPUT], index], made, attributes={"axis": 1}, label=node.label
        )
        last = reshape_at(graph, place + 1, last, (1, 1, features))
        graph.add(ops.DEQUANT, [last], element_types=["float32"], attributes={"scale_o": a["scale_o"]})
        dequant = graph.nodes.pop()
        # The float keeps the state's name, the node's output gets another.
        dequant.outputs, node.outputs[_HIDDEN] = [state], dequant.outputs[0]
        graph.shapes[node.outputs[_HIDDEN]] = graph.shapes[state]
        graph.nodes.insert(place + 2, dequant)
