"""Simplifying a graph: what two nodes say that one can say, and the order of nodes that linger has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from linger_jax.export.onnx.onnx_graph import LINGER, GraphNode, OnnxGraph


def clean(graph: OnnxGraph) -> None:
    """Simplifies a graph in place."""
    for node in list(graph.nodes):
        if node.op == "QBmm":
            _without_unit_axes(graph, node)
    graph.drop_dead()
    _select_by_gather(graph)
    graph.drop_dead()
    _split(graph)
    _quantize_inputs_first(graph)


def _makers(graph: OnnxGraph) -> Mapping[str, GraphNode]:
    return {tensor: node for node in graph.nodes for tensor in node.outputs}


def _readers(graph: OnnxGraph) -> Counter[str]:
    return Counter([*(t for node in graph.nodes for t in node.inputs), *graph.outputs])


def _without_unit_axes(graph: OnnxGraph, node: GraphNode) -> None:
    """A product of operands without their leading axes of length one, which come back behind it, keeps them.

    ``jnp.matmul`` writes a batch of one in this way.
    """
    makers, readers = _makers(graph), _readers(graph)
    sources = [_before_squeeze(graph, makers, tensor) for tensor in node.inputs]
    behind = [n for n in graph.nodes if node.outputs[0] in n.inputs]
    if any(source is None for source in sources) or len(behind) != 1 or readers[node.outputs[0]] != 1:
        return
    (after,) = behind
    axes = [source[1] for source in sources if source is not None]
    if after.op != "Unsqueeze" or any(a != after.attributes["axes"] for a in axes):
        return
    for i, source in enumerate(sources):
        assert source is not None
        node.inputs[i] = _moved(graph, node, source)
    graph.shapes[node.outputs[0]] = graph.shapes[after.outputs[0]]
    _replace(graph, after.outputs[0], node.outputs[0])
    graph.nodes.remove(after)


Source = tuple[str, list[int], list[int] | None]
"""A tensor, the axes that a Squeeze takes from it, and the order that a Transpose brings the others into."""


def _before_squeeze(graph: OnnxGraph, makers: Mapping[str, GraphNode], tensor: str) -> Source | None:
    """The tensor in front of squeezes of leading axes, and of a Transpose behind them."""
    node, order = makers.get(tensor), None
    if node is not None and node.op == "Transpose":
        order = list(node.attributes["perm"])
        node = makers.get(node.inputs[0])
    axes: list[int] = []
    while node is not None and node.op == "Squeeze" and list(node.attributes["axes"]) == [0]:
        axes.append(len(axes))
        tensor = node.inputs[0]
        node = makers.get(tensor)
    return (tensor, axes, order) if axes else None


def _moved(graph: OnnxGraph, before: GraphNode, source: Source) -> str:
    tensor, axes, order = source
    if order is None:
        return tensor
    perm = [*axes, *(len(axes) + axis for axis in order)]
    (moved,) = graph.add("Transpose", [tensor], element_types=[graph.element_types[tensor]], attributes={"perm": perm})
    graph.shapes[moved] = tuple(graph.shapes[tensor][axis] for axis in perm)
    graph.nodes.insert(graph.nodes.index(before), graph.nodes.pop())
    return moved


def _select_by_gather(graph: OnnxGraph) -> None:
    """One position of an axis: a Slice of length one and the Squeeze of that axis are one Gather."""
    makers, readers = _makers(graph), _readers(graph)
    for node in graph.nodes:
        cut = makers.get(node.inputs[0]) if node.op == "Squeeze" else None
        if cut is None or cut.op != "Slice" or readers[cut.outputs[0]] != 1:
            continue
        starts, _, axes, _ = (graph.constants[name].tolist() for name in cut.inputs[1:])
        if axes != list(node.attributes["axes"]) or len(axes) != 1:
            continue
        index = graph.constant(f"index_{starts[0]}", np.asarray(starts[0], np.int64))
        node.op, node.domain, node.attributes = "Gather", "", {"axis": axes[0]}
        node.inputs = [cut.inputs[0], index]


def _split(graph: OnnxGraph) -> None:
    """Neighbouring Slices that together are one tensor are one Split."""
    for source in dict.fromkeys(n.inputs[0] for n in graph.nodes if n.op == "Slice"):
        cuts = [n for n in graph.nodes if source in n.inputs]
        if len(cuts) < 2 or source in graph.outputs or any(n.op != "Slice" for n in cuts):
            continue
        starts, ends, axes, steps = ([graph.constants[n.inputs[i]].tolist() for n in cuts] for i in range(1, 5))
        if any(len(a) != 1 or a != axes[0] for a in axes) or any(s != [1] for s in steps):
            continue
        edges = [0, *(end for (end,) in ends)]
        if [start for (start,) in starts] != edges[:-1] or edges[-1] != graph.shapes[source][axes[0][0]]:
            continue
        first, *others = cuts
        first.op, first.inputs = "Split", [source]
        first.attributes = {"axis": axes[0][0], "split": np.diff(edges).tolist()}
        for node in others:
            first.outputs += node.outputs
            graph.nodes.remove(node)


def _quantize_inputs_first(graph: OnnxGraph) -> None:
    """Graph inputs are quantized before anything else happens, as in linger's files."""
    entries = {entry.name for entry in graph.inputs}
    first = [n for n in graph.nodes if n.op == "Quant" and n.inputs[0] in entries]
    graph.nodes = [*first, *(n for n in graph.nodes if n not in first)]


def _replace(graph: OnnxGraph, old: str, new: str) -> None:
    for node in graph.nodes:
        node.inputs = [new if t == old else t for t in node.inputs]
    graph.outputs = [new if t == old else t for t in graph.outputs]


def axes_as_inputs(graph: OnnxGraph) -> None:
    """From opset 13 on Squeeze, Unsqueeze and Split of ONNX take their axes and sizes as inputs."""
    for node in graph.nodes:
        name = {"Squeeze": "axes", "Unsqueeze": "axes", "Split": "split"}.get(node.op)
        if name is not None and node.domain != LINGER and name in node.attributes:
            values = np.asarray(node.attributes.pop(name), np.int64)
            node.inputs.append(graph.constant(f"{name}_" + "_".join(map(str, values.tolist())), values))
