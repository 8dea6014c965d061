"""What a device takes and returns: the table of an exported file's inputs and outputs."""

from __future__ import annotations

from collections import Counter

from rich.markup import escape
from rich.table import Table

from linger_jax.export.onnx import FileGraph

_QUANT, _DEQUANT = "linger::Quant", "linger::Dequant"


def boundary_table(graph: FileGraph) -> Table:
    """A line for each input and output: shape, integer format, and how real numbers become integers and back."""
    table = Table(title="what the device takes and returns")
    for column in ("", "tensor", "shape", "integers", "real number"):
        table.add_column(column, overflow="fold")
    for entry in graph.inputs:
        quants = [node for node in graph.nodes if node.op == _QUANT and entry.name in node.inputs]
        forms = {(node.integer("data_bits"), node.scale("scale_x")) for node in quants}
        integers = ", ".join(f"int{bits}" for bits, _ in sorted(forms)) or str(entry.dtype)
        meaning = ", ".join(f"clip(floor({entry.name} * {scale:g} + 0.5))" for _, scale in sorted(forms)) or "indices"
        table.add_row("input", escape(entry.name), _shape(entry.shape), integers, escape(meaning))
    for name in graph.outputs:
        made = next(node for node in graph.nodes if name in node.outputs)
        meaning = f"integers / {made.scale('scale_o'):g}" if made.op == _DEQUANT else "as they are"
        integers = _width(graph, made.inputs[0]) if made.op == _DEQUANT else ""
        table.add_row("output", escape(name), _shape(graph.shapes.get(name, ())), integers, meaning)
    return table


def operators_of(graph: FileGraph) -> str:
    """How many nodes of each operator, in one line."""
    counts = Counter(node.op.removeprefix("linger::") for node in graph.nodes)
    return ", ".join(f"{count} {op}" if count > 1 else op for op, count in counts.items())


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _width(graph: FileGraph, tensor: str) -> str:
    """Integer type of a tensor: stated by the node that made it, or by the one before, where that only moves values."""
    made = {name: node for node in graph.nodes for name in node.outputs}
    while tensor in made:
        node = made[tensor]
        for attribute in ("o_bits", "data_bits", "w_bits"):
            if attribute in node.attributes:
                return f"int{node.integer(attribute)}"
        tensor = node.inputs[0]
    return ""
