"""Products and transposes of at most three axes: an axis of one sample goes, leading axes merge."""

from __future__ import annotations

import functools
import math

from linger_jax.export.dialects.thinker.relayout import POINTWISE, Relayout, relay
from linger_jax.export.dialects.thinker.rewriting import Target
from linger_jax.export.onnx import GraphNode, OnnxGraph, makers, readers, shape_of

_PRODUCTS = ("QBmm", "QMatmul")
_RANK = 4


def three_axes(graph: OnnxGraph, target: Target) -> None:
    """The chip multiplies stacks of matrices, so samples and heads are one axis.

    On venusA, whose executor crashes in a transpose of four axes, those that keep the sample in front lose it.
    """
    shape = functools.partial(_data_shape, graph)
    relay(
        graph,
        Relayout(
            shape=lambda s: (math.prod(s[:-2]), *s[-2:]),
            must=lambda node: len(shape(node)) > _RANK and node.op in _PRODUCTS,
            may=lambda node: False,
            convert=lambda node: None,
        ),
    )
    relay(
        graph,
        Relayout(
            shape=lambda s: s[1:] if s[0] == 1 else (s[0] * s[1], *s[2:]),
            must=lambda node: len(shape(node)) == _RANK and _needs(graph, node, shape(node), target),
            may=lambda node: len(shape(node)) == _RANK and _may(node, shape(node)),
            convert=_convert,
        ),
    )


def _data_shape(graph: OnnxGraph, node: GraphNode) -> tuple[int, ...]:
    return shape_of(graph, node.inputs[0]) if node.inputs else ()


def _needs(graph: OnnxGraph, node: GraphNode, shape: tuple[int, ...], target: Target) -> bool:
    if node.op in _PRODUCTS:
        return True
    if not _may(node, shape):
        return False
    crashes = target.device is not None and target.device.executor.transpose_of_four_axes_crashes
    return (node.op == "Transpose" and crashes) or _beside_three_axes(graph, node)


def _beside_three_axes(graph: OnnxGraph, node: GraphNode) -> bool:
    """Whether the node's operand had three axes just before, or its result has just behind."""
    maker = makers(graph).get(node.inputs[0])
    if maker is not None and maker.op == "Reshape" and _is_stack(graph, node.inputs[0], maker.inputs[0]):
        return True
    behind = readers(graph, node.outputs[0])
    return bool(behind) and all(n.op == "Reshape" and _is_stack(graph, n.inputs[0], n.outputs[0]) for n in behind)


def _is_stack(graph: OnnxGraph, one: str, other: str) -> bool:
    """Whether two tensors differ in a leading axis of one sample alone."""
    return shape_of(graph, one) == (1, *shape_of(graph, other))


def _may(node: GraphNode, shape: tuple[int, ...]) -> bool:
    """One sample, and nothing happens along its axis."""
    if shape[0] != 1:
        return False
    if node.op == "Transpose":
        return int(node.attributes["perm"][0]) == 0
    if node.op in ("QSoftmax", "QCat"):
        return int(node.attributes["axis"]) > 0
    return node.op in POINTWISE


def _convert(node: GraphNode) -> None:
    a = node.attributes
    if node.op == "Transpose":
        a["perm"] = [int(axis) - 1 for axis in a["perm"][1:]]
    elif node.op in ("QSoftmax", "QCat"):
        a["axis"] = int(a["axis"]) - 1
