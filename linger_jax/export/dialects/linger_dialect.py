"""linger's dialect: what linger writes in one node is one node, and nodes stand in linger's order."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from linger_jax.export.dialects.dialect import Destination, Dialect, Rewrite
from linger_jax.export.onnx import (
    GraphNode,
    OnnxGraph,
    file_dialect,
    index_constant,
    makers,
    readers,
    replace_uses,
    transposed_at,
    uses,
)
from linger_jax.kinds import onnx_operators as ops


def products_with_unit_axes(graph: OnnxGraph, destination: Destination) -> None:
    """A product of operands without their leading axes of length one, which come back behind it, keeps them.

    ``jnp.matmul`` writes a batch of one in this way.
    """
    del destination
    for node in list(graph.nodes):
        if node.operator is ops.QBMM:
            _with_unit_axes(graph, node)


def _with_unit_axes(graph: OnnxGraph, node: GraphNode) -> None:
    made_by = makers(graph)
    sources = [_before_squeeze(made_by, tensor) for tensor in node.inputs]
    behind = readers(graph, node.outputs[0])
    if any(source is None for source in sources) or len(behind) != 1 or uses(graph)[node.outputs[0]] != 1:
        return
    (after,) = behind
    axes = [source[1] for source in sources if source is not None]
    if after.operator is not ops.UNSQUEEZE or any(a != after.attributes["axes"] for a in axes):
        return
    for i, source in enumerate(sources):
        assert source is not None
        node.inputs[i] = _moved(graph, node, source)
    graph.shapes[node.outputs[0]] = graph.shapes[after.outputs[0]]
    replace_uses(graph, after.outputs[0], node.outputs[0])
    graph.nodes.remove(after)


Source = tuple[str, list[int], list[int] | None]
"""A tensor, the axes that a Squeeze takes from it, and the order that a Transpose brings the others into."""


def _before_squeeze(made_by: Mapping[str, GraphNode], tensor: str) -> Source | None:
    """The tensor in front of squeezes of leading axes, and of a Transpose behind them."""
    node, order = made_by.get(tensor), None
    if node is not None and node.operator is ops.TRANSPOSE:
        order = list(node.attributes["perm"])
        node = made_by.get(node.inputs[0])
    axes: list[int] = []
    while node is not None and node.operator in ops.SQUEEZES and list(node.attributes["axes"]) == [0]:
        axes.append(len(axes))
        tensor = node.inputs[0]
        node = made_by.get(tensor)
    return (tensor, axes, order) if axes else None


def _moved(graph: OnnxGraph, before: GraphNode, source: Source) -> str:
    tensor, axes, order = source
    if order is None:
        return tensor
    perm = [*axes, *(len(axes) + axis for axis in order)]
    return transposed_at(graph, graph.nodes.index(before), tensor, perm)


def gathers_for_positions(graph: OnnxGraph, destination: Destination) -> None:
    """One position of an axis: a Slice of length one and the Squeeze of that axis are one Gather."""
    del destination
    made_by, used = makers(graph), uses(graph)
    for node in graph.nodes:
        cut = made_by.get(node.inputs[0]) if node.operator in ops.SQUEEZES else None
        if cut is None or cut.operator is not ops.SLICE or used[cut.outputs[0]] != 1:
            continue
        starts, _, axes, _ = (graph.constants[name].tolist() for name in cut.inputs[1:])
        if axes != list(node.attributes["axes"]) or len(axes) != 1:
            continue
        node.operator, node.attributes = ops.GATHER, {"axis": axes[0]}
        node.inputs = [cut.inputs[0], index_constant(graph, starts[0])]


def splits_for_slices(graph: OnnxGraph, destination: Destination) -> None:
    """Neighbouring Slices that together are one tensor are one Split."""
    del destination
    for source in dict.fromkeys(n.inputs[0] for n in graph.nodes if n.operator is ops.SLICE):
        cuts = readers(graph, source)
        if len(cuts) < 2 or source in graph.outputs or any(n.operator is not ops.SLICE for n in cuts):
            continue
        starts, ends, axes, steps = ([graph.constants[n.inputs[i]].tolist() for n in cuts] for i in range(1, 5))
        if any(len(a) != 1 or a != axes[0] for a in axes) or any(s != [1] for s in steps):
            continue
        edges = [0, *(end for (end,) in ends)]
        if [start for (start,) in starts] != edges[:-1] or edges[-1] != graph.shapes[source][axes[0][0]]:
            continue
        first, *others = cuts
        first.operator, first.inputs = ops.SPLIT, [source]
        first.attributes = {"axis": axes[0][0], "split": np.diff(edges).tolist()}
        for node in others:
            first.outputs += node.outputs
            graph.nodes.remove(node)


def quants_of_inputs_first(graph: OnnxGraph, destination: Destination) -> None:
    """Graph inputs are quantized before anything else happens, as in linger's files."""
    del destination
    entries = {entry.name for entry in graph.inputs}
    first = [n for n in graph.nodes if n.operator is ops.QUANT and n.inputs[0] in entries]
    graph.nodes = [*first, *(n for n in graph.nodes if n not in first)]


_SOURCE = "docs/specification/onnx_export.md section 2"
LINGER = Dialect(
    files=file_dialect.LINGER_FILES,
    summary="as linger 3.0.9 writes",
    rewrites=(
        Rewrite("products with their axes of length one", _SOURCE, products_with_unit_axes),
        Rewrite("Gathers for positions", _SOURCE, gathers_for_positions),
        Rewrite("Quants of inputs first", _SOURCE, quants_of_inputs_first),
        # Last: the bounds of the Slices stay in the file as constants, as they always did.
        Rewrite("Splits for Slices", _SOURCE, splits_for_slices),
    ),
    one_sample=False,
    biases_as_evaluated=False,
    checked=False,
)
"""Names and operators of linger 3.0.9."""
