"""Edits of a finished graph: who makes and reads a tensor, nodes in between, one tensor for another."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from linger_jax.export.onnx.onnx_graph import ElementType, GraphNode, OnnxGraph
from linger_jax.kinds import OnnxOperator
from linger_jax.kinds import onnx_operators as ops
from linger_jax.typing import Shape

AXES_ARE_INPUTS = 13
"""The first opset in which Squeeze, Unsqueeze and Split take their axes or sizes as inputs; the packer wants
attributes."""


def makers(graph: OnnxGraph) -> Mapping[str, GraphNode]:
    """The node that makes each tensor."""
    return {tensor: node for node in graph.nodes for tensor in node.outputs}


def readers(graph: OnnxGraph, tensor: str) -> list[GraphNode]:
    """Nodes that read a tensor."""
    return [node for node in graph.nodes if tensor in node.inputs]


def uses(graph: OnnxGraph) -> Counter[str]:
    """How often each tensor is read, by nodes and as a graph output."""
    return Counter([*(t for node in graph.nodes for t in node.inputs), *graph.outputs])


def shape_of(graph: OnnxGraph, tensor: str) -> Shape:
    """Shape of any tensor: of a node, a graph input or a constant."""
    if tensor in graph.constants:
        return graph.constants[tensor].shape
    given = {entry.name: entry.shape for entry in graph.inputs}
    return given[tensor] if tensor in given else graph.shapes[tensor]


def kind_of(graph: OnnxGraph, tensor: str) -> ElementType:
    """Element type of a tensor that a node makes or that enters the graph."""
    given = {entry.name: entry.element_type for entry in graph.inputs}
    return given[tensor] if tensor in given else graph.element_types[tensor]


def is_integer(graph: OnnxGraph, tensor: str) -> bool:
    """Whether a tensor of a node or of the caller holds quantized integers."""
    return kind_of(graph, tensor) in ("int8", "int16", "int32")


def replace_uses(graph: OnnxGraph, old: str, new: str, *, within: Sequence[GraphNode] | None = None) -> None:
    """Every reader of ``old`` reads ``new``; the graph outputs too where no readers are given."""
    for node in graph.nodes if within is None else within:
        node.inputs = [new if t == old else t for t in node.inputs]
    if within is None:
        graph.outputs = [new if t == old else t for t in graph.outputs]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Made:
    """What a new node makes: shape and element type of its output."""

    shape: Shape
    kind: ElementType


def insert(
    graph: OnnxGraph,
    place: int,
    operator: OnnxOperator,
    inputs: Sequence[str],
    made: Made,
    *,
    attributes: Mapping[str, Any] | None = None,
    label: str = "",
) -> str:
    """A new node of one output at an index of the node list.

    Returns:
      Its output.
    """
    (tensor,) = graph.add(operator, inputs, element_types=[made.kind], attributes=attributes, label=label)
    graph.shapes[tensor] = made.shape
    graph.nodes.insert(place, graph.nodes.pop())
    return tensor


def shape_constant(graph: OnnxGraph, shape: Shape) -> str:
    """The constant that a Reshape reads."""
    return graph.constant("shape_" + "x".join(map(str, shape)), np.asarray(shape, np.int64))


def integers_constant(graph: OnnxGraph, name: str, values: Sequence[int]) -> str:
    """A constant of int64 with its values in its name: axes, sizes, paddings."""
    return graph.constant(f"{name}_" + "_".join(map(str, values)), np.asarray(values, np.int64))


def index_constant(graph: OnnxGraph, index: int) -> str:
    """The constant by which a Gather picks one position."""
    return graph.constant(f"index_{index}", np.asarray(index, np.int64))


def slice_constants(
    graph: OnnxGraph, starts: Sequence[int], ends: Sequence[int], axes: Sequence[int], steps: Sequence[int]
) -> list[str]:
    """The constants that a Slice reads behind its operand."""
    rows = {"starts": starts, "ends": ends, "axes": axes, "steps": steps}
    return [integers_constant(graph, name, row) for name, row in rows.items()]


def axes_as_inputs(graph: OnnxGraph) -> None:
    """Attributes that are inputs from ``AXES_ARE_INPUTS`` on become constants."""
    for node in graph.nodes:
        name = node.operator.axes_attribute
        if name is not None and name in node.attributes:
            node.inputs.append(integers_constant(graph, name, node.attributes.pop(name)))


def transposed_at(graph: OnnxGraph, place: int, tensor: str, perm: Sequence[int]) -> str:
    """The tensor with its axes in another order, behind a Transpose at an index of the node list."""
    shape = shape_of(graph, tensor)
    made = Made(shape=tuple(shape[axis] for axis in perm), kind=kind_of(graph, tensor))
    return insert(graph, place, ops.TRANSPOSE, [tensor], made, attributes={"perm": perm})


def reshape_at(graph: OnnxGraph, place: int, tensor: str, shape: Shape) -> str:
    """The tensor with another shape: itself, a reshaped constant, or behind a Reshape at an index of the node list."""
    before = shape_of(graph, tensor)
    if before == shape:
        return tensor
    assert math.prod(before) == math.prod(shape), (before, shape)
    if tensor in graph.constants:
        return graph.constant(tensor, graph.constants[tensor].reshape(shape))
    return insert(
        graph,
        place,
        ops.RESHAPE,
        [tensor, shape_constant(graph, shape)],
        Made(shape=shape, kind=kind_of(graph, tensor)),
    )


def reshape_output(graph: OnnxGraph, node: GraphNode, shape: Shape) -> None:
    """The node makes its first output in another shape; readers get the old one from a Reshape."""
    outer = node.outputs[0]
    (inner,) = graph.add(ops.RESHAPE, [], element_types=[graph.element_types[outer]], label=node.label)
    reshape = graph.nodes.pop()
    graph.shapes[inner] = shape
    node.outputs[0] = inner
    reshape.inputs, reshape.outputs = [inner, shape_constant(graph, graph.shapes[outer])], [outer]
    graph.nodes.insert(graph.nodes.index(node) + 1, reshape)
