"""A graph as a reader of its file would see it, without the file and without the onnx package."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from linger_jax.config import Compat
from linger_jax.export.onnx.file_dialect import FileDialect
from linger_jax.export.onnx.onnx_file import FileGraph, FileNode, FileTensor
from linger_jax.export.onnx.onnx_graph import OnnxGraph


def as_file(graph: OnnxGraph, compat: Compat, dialect: FileDialect) -> FileGraph:
    """What ``read_model`` makes of the model that ``to_model`` makes of a graph.

    Args:
      graph: the graph.
      compat, dialect: of the file's metadata.
    """
    nodes = tuple(
        FileNode(
            node.name,
            f"{node.operator.domain}::{node.op}" if node.operator.domain else node.op,
            tuple(node.inputs),
            tuple(node.outputs),
            {name: _attribute(value) for name, value in node.attributes.items()},
            node.label,
        )
        for node in graph.nodes
    )
    inputs = tuple(FileTensor(entry.name, entry.shape, np.dtype(entry.element_type)) for entry in graph.inputs)
    made = [*(tensor for node in graph.nodes for tensor in node.outputs), *graph.outputs, *graph.reserving]
    shapes = {tensor: graph.shapes[tensor] for tensor in made if all(size > 0 for size in graph.shapes[tensor])}
    return FileGraph(
        *(inputs, tuple(graph.outputs), nodes, graph.constants, compat, shapes, dialect), tuple(graph.reserving)
    )


def _attribute(value: Any) -> Any:
    """An attribute as a file holds it: whole numbers, float32, text, and lists of these."""
    if isinstance(value, str):
        return value
    if isinstance(value, Iterable):
        return [_attribute(v) for v in value]
    return int(value) if isinstance(value, int | np.integer) else float(np.float32(value))
