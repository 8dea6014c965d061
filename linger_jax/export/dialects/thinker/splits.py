"""Split, which the packer cannot read, as one Slice a part."""

from __future__ import annotations

import numpy as np

from linger_jax.export.dialects.thinker.rewriting import Target
from linger_jax.export.onnx import Made, OnnxGraph, insert, kind_of


def slices_for_splits(graph: OnnxGraph, target: Target) -> None:
    """Every part of a Split is a Slice of its input."""
    del target
    for node in [n for n in graph.nodes if n.op == "Split"]:
        place, axis = graph.nodes.index(node), int(node.attributes["axis"])
        graph.nodes.remove(node)
        edges = np.cumsum([0, *node.attributes["split"]]).tolist()
        for start, end, tensor in zip(edges[:-1], edges[1:], node.outputs, strict=True):
            rows = {"starts": start, "ends": end, "axes": axis, "steps": 1}
            constants = [graph.constant(f"{k}_{v}", np.asarray([v], np.int64)) for k, v in rows.items()]
            made = Made(shape=graph.shapes[tensor], kind=kind_of(graph, tensor))
            insert(graph, place, "Slice", [node.inputs[0], *constants], made, label=node.label)
            graph.nodes[place].outputs = [tensor]
            place += 1
