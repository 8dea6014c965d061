"""An output that nobody reads, for which the packer plans the scratch memory that other operators need."""

from __future__ import annotations

from typing import Any

import numpy as np

from linger_jax.config import RoundMode
from linger_jax.export.dialects.dialect import Destination
from linger_jax.export.onnx import OnnxGraph, shape_of
from linger_jax.export.scratch_memory import behind_state, reserving_shape, scratch_bytes
from linger_jax.kinds import onnx_operators as ops
from linger_jax.typing import Shape

_OUTPUT = "reserved_memory"
_AXIS = 1
_BITS = 8


def scratch_memory(graph: OnnxGraph, destination: Destination) -> None:
    """A gated linear unit of zeros is one more output, where an operator writes more than the packer plans for it.

    The unit's own scratch memory is large enough for that operator. Behind the final state of an LSTM it is the unit's
    result that makes room: both lie in PSRAM, one after the other in the same block.
    """
    device = destination.device
    if device is None:
        return
    size = max(
        scratch_bytes(
            device,
            node.operator,
            node.attributes,
            [_shape(graph, tensor) for tensor in node.inputs],
            graph.shapes[node.outputs[0]],
        )
        for node in graph.nodes
    )
    state = max(behind_state(device, node.operator, node.attributes) for node in graph.nodes)
    if size or state:
        _reserve(graph, destination, reserving_shape(size, state))


def _shape(graph: OnnxGraph, tensor: str) -> Shape | None:
    return shape_of(graph, tensor) if tensor else None


def _reserve(graph: OnnxGraph, destination: Destination, shape: Shape) -> None:
    zeros = graph.constant("reserving", np.zeros(shape, np.int8))
    attributes: dict[str, Any] = {"dim": _AXIS, "x_bits": _BITS, "scale_x": 1.0, "o_bits": _BITS, "scale_o": 1.0}
    attributes |= {"platform": destination.platform.value, "quant_mode": RoundMode.floor_add.value}
    (made,) = graph.add(ops.QGLU, [zeros], element_types=["int8"], attributes=attributes, label="")
    graph.shapes[made] = half = (shape[0], shape[1] // 2)
    # The packer counts outputs with a Dequant behind those without.
    (real,) = graph.add(ops.DEQUANT, [made], element_types=["float32"], attributes={"scale_o": 1.0}, label="")
    graph.shapes[real] = half
    taken = {*graph.constants, *graph.outputs, *(entry.name for entry in graph.inputs)}
    name = _OUTPUT
    while name in taken:
        name += "_"
    graph.nodes[-1].outputs = [name]
    graph.element_types[name], graph.shapes[name] = graph.element_types.pop(real), graph.shapes.pop(real)
    graph.reserving.append(name)
