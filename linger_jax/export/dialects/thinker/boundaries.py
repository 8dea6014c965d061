"""Quant at the graph's inputs, Dequant at its outputs, and nothing in float between them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from linger_jax.config import RoundMode
from linger_jax.export.dialects.dialect import Destination
from linger_jax.export.dialects.thinker.rescale import can_rescale, parts_of_one_grid, platform_of, rescale
from linger_jax.export.lower import Grid
from linger_jax.export.onnx import (
    GraphNode,
    Made,
    OnnxGraph,
    insert,
    integer_type,
    makers,
    readers,
    replace_uses,
    shape_of,
)
from linger_jax.kinds import onnx_operators as ops


def quantize_inputs(graph: OnnxGraph, destination: Destination) -> None:
    """Quants move up to the graph inputs over operators that commute with rounding; one of a kind stays.

    The packer drops leading Quants: what stands in front of one would run in float.
    """
    del destination
    _merge_quants(graph)
    while _raise_one(graph):
        _merge_quants(graph)


def _quant_grid(node: GraphNode) -> Grid:
    return Grid(node.attributes["scale_x"], node.attributes["data_bits"])


def _merge_quants(graph: OnnxGraph) -> None:
    first: dict[tuple[str, Grid], str] = {}
    for node in [n for n in graph.nodes if n.operator is ops.QUANT]:
        kept = first.setdefault((node.inputs[0], _quant_grid(node)), node.outputs[0])
        if kept != node.outputs[0]:
            replace_uses(graph, node.outputs[0], kept)
            graph.nodes.remove(node)


def _raise_one(graph: OnnxGraph) -> bool:
    """Moves the Quants of one operator's results in front of it, where nothing but Quants of one grid reads them."""
    for node in graph.nodes:
        if node.operator.quantized or not node.operator.passes_grid or node.inputs[0] in graph.constants:
            continue
        behind = [reader for tensor in node.outputs for reader in readers(graph, tensor)]
        grids = {_quant_grid(r) for r in behind if r.operator is ops.QUANT}
        alone = all(r.operator is ops.QUANT for r in behind) and not set(node.outputs) & set(graph.outputs)
        if not alone or len(grids) != 1 or not _pads_with_zero(graph, node):
            continue
        _raise(graph, node, behind)
        return True
    return False


def _pads_with_zero(graph: OnnxGraph, node: GraphNode) -> bool:
    return node.operator is not ops.PAD or float(graph.constants[node.inputs[2]]) == 0


def _raise(graph: OnnxGraph, node: GraphNode, quants: Sequence[GraphNode]) -> None:
    grid, source = _quant_grid(quants[0]), node.inputs[0]
    made = Made(shape=shape_of(graph, source), kind=integer_type(grid.bits))
    place, a, label = graph.nodes.index(node), quants[0].attributes, quants[0].label
    node.inputs[0] = insert(graph, place, ops.QUANT, [source], made, attributes=a, label=label)
    for tensor in node.outputs:
        graph.element_types[tensor] = integer_type(grid.bits)
    for quant in quants:
        replace_uses(graph, quant.outputs[0], quant.inputs[0])
        graph.nodes.remove(quant)


def dequantize_outputs(graph: OnnxGraph, destination: Destination) -> None:
    """Dequants move down behind operators that move elements; a Quant behind one is an integer operator, or nothing.

    Integers that change their grid are multiplied with one: a product is rounded as a Quant rounds.
    """
    del destination
    while _lower_one(graph) or _join_one(graph):
        pass
    for quant in [n for n in graph.nodes if n.operator is ops.QUANT]:
        dequant = makers(graph).get(quant.inputs[0])
        if dequant is not None and dequant.operator is ops.DEQUANT:
            _requantize(graph, dequant, quant)


def _lower_one(graph: OnnxGraph) -> bool:
    made_by = makers(graph)
    for node in graph.nodes:
        dequant = made_by.get(node.inputs[0]) if node.inputs else None
        if dequant is None or dequant.operator is not ops.DEQUANT or node.operator.quantized:
            continue
        if not node.operator.moves and node.operator is not ops.RELU:
            continue
        kind = graph.element_types[dequant.inputs[0]]
        node.inputs[0] = dequant.inputs[0]
        for i, tensor in enumerate(node.outputs):
            _dequantized(graph, node, i, tensor, dequant)
            graph.element_types[node.outputs[i]] = kind
        return True
    return False


def _join_one(graph: OnnxGraph) -> bool:
    """A Concat of floats of one scale is a QCat, which rounds nothing then."""
    made_by = makers(graph)
    for node in graph.nodes:
        before = [made_by.get(tensor) for tensor in node.inputs]
        dequants = [d for d in before if d is not None and d.operator is ops.DEQUANT]
        if node.operator is not ops.CONCAT or len(dequants) != len(before):
            continue
        scales = {d.attributes["scale_o"] for d in dequants}
        kinds = {graph.element_types[d.inputs[0]] for d in dequants}
        if len(scales) != 1 or len(kinds) != 1:
            continue
        (scale,), (kind,) = scales, kinds
        bits = np.dtype(kind).itemsize * 8
        node.operator, node.inputs = ops.QCAT, [d.inputs[0] for d in dequants]
        node.attributes = {
            "axis": node.attributes["axis"],
            "platform": platform_of(graph),
            "quant_mode": RoundMode.floor_add.value,
            **parts_of_one_grid(Grid(scale, bits), len(dequants)),
        }
        _dequantized(graph, node, 0, node.outputs[0], dequants[0])
        graph.element_types[node.outputs[0]] = kind
        return True
    return False


def _dequantized(graph: OnnxGraph, node: GraphNode, i: int, tensor: str, dequant: GraphNode) -> None:
    """The node makes integers; a Dequant behind it makes the float of the old name."""
    attributes = dequant.attributes
    graph.add(ops.DEQUANT, [], element_types=["float32"], attributes=attributes, label=node.label)
    behind = graph.nodes.pop()
    inner = behind.outputs[0]
    graph.shapes[inner] = graph.shapes[tensor]
    node.outputs[i], behind.inputs, behind.outputs = inner, [inner], [tensor]
    graph.nodes.insert(graph.nodes.index(node) + 1, behind)


def _requantize(graph: OnnxGraph, dequant: GraphNode, quant: GraphNode) -> None:
    integers, scale = dequant.inputs[0], dequant.attributes["scale_o"]
    bits, result = np.dtype(graph.element_types[integers]).itemsize * 8, _quant_grid(quant)
    if (scale, bits) == (result.scale, result.bits):
        replace_uses(graph, quant.outputs[0], integers)
        graph.nodes.remove(quant)
        return
    before = Grid(scale, bits)
    if can_rescale(before, result):
        made = rescale(graph, graph.nodes.index(quant), integers, before, result, quant.label)
        replace_uses(graph, quant.outputs[0], made)
        graph.nodes.remove(quant)


def no_identity(graph: OnnxGraph, destination: Destination) -> None:
    """Identity goes; a second output of one tensor gets a Dequant of its own."""
    del destination
    made_by = makers(graph)
    for node in [n for n in graph.nodes if n.operator is ops.IDENTITY]:
        (tensor,) = node.outputs
        if tensor not in graph.outputs:
            replace_uses(graph, tensor, node.inputs[0])
            graph.nodes.remove(node)
            continue
        maker = made_by.get(node.inputs[0])
        if maker is not None and maker.operator is ops.DEQUANT:
            copy = dataclasses.replace(maker, inputs=list(maker.inputs), outputs=[tensor])
            graph.nodes[graph.nodes.index(node)] = copy
