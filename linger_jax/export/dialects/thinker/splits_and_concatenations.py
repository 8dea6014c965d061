"""Split, which the packer cannot read, as one Slice a part; QCat as every executor computes it rightly."""

from __future__ import annotations

import numpy as np

from linger_jax.export.dialects.dialect import Destination
from linger_jax.export.dialects.thinker.rescale import rescale
from linger_jax.export.lower import Grid
from linger_jax.export.onnx import Made, OnnxGraph, insert, kind_of, slice_constants
from linger_jax.kinds import onnx_operators as ops


def slices_for_splits(graph: OnnxGraph, destination: Destination) -> None:
    """Every part of a Split is a Slice of its input."""
    del destination
    for node in [n for n in graph.nodes if n.operator is ops.SPLIT]:
        place, axis = graph.nodes.index(node), int(node.attributes["axis"])
        graph.nodes.remove(node)
        edges = np.cumsum([0, *node.attributes["split"]]).tolist()
        for start, end, tensor in zip(edges[:-1], edges[1:], node.outputs, strict=True):
            constants = slice_constants(graph, [start], [end], [axis], [1])
            made = Made(shape=graph.shapes[tensor], kind=kind_of(graph, tensor))
            insert(graph, place, ops.SLICE, [node.inputs[0], *constants], made, label=node.label)
            graph.nodes[place].outputs = [tensor]
            place += 1


def operands_on_the_result_grid(graph: OnnxGraph, destination: Destination) -> None:
    """Operands on a finer grid are brought to the result's in front of a concatenation, rounded as it would.

    Some executors only shift left there.
    """
    if destination.device is None or not destination.device.executor.concatenation_only_shifts_left:
        return
    for node in [n for n in graph.nodes if n.operator is ops.QCAT]:
        a = node.attributes
        after = Grid(a["scale_o"], a["o_bits"])
        for i, tensor in enumerate(node.inputs):
            before = Grid(a[f"scale_x_{i}"], a[f"x_{i}_bits"])
            if before.scale <= after.scale or tensor in graph.constants:
                continue
            place = graph.nodes.index(node)
            node.inputs[i] = rescale(graph, place, tensor, before, after, node.label, a["quant_mode"])
            a[f"scale_x_{i}"], a[f"x_{i}_bits"] = after.scale, after.bits
