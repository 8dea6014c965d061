"""Products and transposes of at most three axes: an axis of one sample goes, leading axes merge."""

from __future__ import annotations

import functools
import math

from linger_jax.export.dialects.dialect import Destination
from linger_jax.export.dialects.thinker.axes.relayout import Relayout, relay
from linger_jax.export.onnx import GraphNode, OnnxGraph, makers, readers, shape_of
from linger_jax.kinds import onnx_operators as ops

_ALONG_AN_AXIS = (ops.QSOFTMAX, ops.QCAT)
_RANK = 4


def three_axes(graph: OnnxGraph, destination: Destination) -> None:
    """The chip multiplies stacks of matrices, so samples and heads are one axis.

    On venusA, whose executor crashes in a transpose of four axes, those that keep the sample in front lose it.
    """
    shape = functools.partial(_data_shape, graph)
    relay(
        graph,
        Relayout(
            shape=lambda s: (math.prod(s[:-2]), *s[-2:]),
            must=lambda node: len(shape(node)) > _RANK and node.operator in ops.PRODUCTS,
            may=lambda node: False,
            convert=lambda node: None,
        ),
    )
    relay(
        graph,
        Relayout(
            shape=lambda s: s[1:] if s[0] == 1 else (s[0] * s[1], *s[2:]),
            must=lambda node: len(shape(node)) == _RANK and _needs(graph, node, shape(node), destination),
            may=lambda node: len(shape(node)) == _RANK and _may(node, shape(node)),
            convert=_convert,
        ),
    )


def _data_shape(graph: OnnxGraph, node: GraphNode) -> tuple[int, ...]:
    return shape_of(graph, node.inputs[0]) if node.inputs else ()


def _needs(graph: OnnxGraph, node: GraphNode, shape: tuple[int, ...], destination: Destination) -> bool:
    if node.operator in ops.PRODUCTS:
        return True
    if not _may(node, shape):
        return False
    crashes = destination.device is not None and destination.device.executor.transpose_of_four_axes_crashes
    return (node.operator is ops.TRANSPOSE and crashes) or _beside_three_axes(graph, node)


def _beside_three_axes(graph: OnnxGraph, node: GraphNode) -> bool:
    """Whether the node's operand had three axes just before, or its result has just behind."""
    maker = makers(graph).get(node.inputs[0])
    if maker is not None and maker.operator is ops.RESHAPE and _is_stack(graph, node.inputs[0], maker.inputs[0]):
        return True
    behind = readers(graph, node.outputs[0])
    return bool(behind) and all(
        n.operator is ops.RESHAPE and _is_stack(graph, n.inputs[0], n.outputs[0]) for n in behind
    )


def _is_stack(graph: OnnxGraph, one: str, other: str) -> bool:
    """Whether two tensors differ in a leading axis of one sample alone."""
    return shape_of(graph, one) == (1, *shape_of(graph, other))


def _may(node: GraphNode, shape: tuple[int, ...]) -> bool:
    """One sample, and nothing happens along its axis."""
    if shape[0] != 1:
        return False
    if node.operator is ops.TRANSPOSE:
        return int(node.attributes["perm"][0]) == 0
    if node.operator in _ALONG_AN_AXIS:
        return int(node.attributes["axis"]) > 0
    return node.operator.pointwise


def _convert(node: GraphNode) -> None:
    a = node.attributes
    if node.operator is ops.TRANSPOSE:
        a["perm"] = [int(axis) - 1 for axis in a["perm"][1:]]
    elif node.operator in _ALONG_AN_AXIS:
        a["axis"] = int(a["axis"]) - 1
