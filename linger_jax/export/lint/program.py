"""A file with the shape, scale and width of every tensor."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from linger_jax.export.lint.node_view import NodeView, Tensor
from linger_jax.export.lint.shapes import result_shapes
from linger_jax.export.onnx import FileGraph, FileNode
from linger_jax.kinds import LINGER, OPERATOR_OF_NAME, OnnxOperator, full_name
from linger_jax.kinds import onnx_operators as ops
from linger_jax.targets import Device, Platform, device_of


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """A file as checks see it.

    Attributes:
      graph: the file.
      platform: the target chip.
      views: its nodes, in order.
      tensors: by name.
      readers: the nodes that read a tensor.
    """

    graph: FileGraph
    platform: Platform
    views: tuple[NodeView, ...]
    tensors: Mapping[str, Tensor]
    readers: Mapping[str, tuple[NodeView, ...]]

    @property
    def device(self) -> Device:
        """What packer and executor make of files for the target chip."""
        return device_of(self.platform)

    def maker(self, tensor: Tensor) -> NodeView | None:
        """The node that makes a tensor."""
        return None if tensor.maker is None else self.views[tensor.maker]

    def origin(self, tensor: Tensor) -> Tensor:
        """The tensor whose values these are, before a Quant: the packer drops those at the boundary."""
        maker = self.maker(tensor)
        source = maker.input(0) if maker is not None and maker.operator is ops.QUANT else None
        return tensor if source is None else source


def program(graph: FileGraph, platform: Platform) -> Program:
    """Looks at every tensor of a file.

    Args:
      graph: the file.
      platform: the target chip, one that the packer knows.
    """
    tensors = {name: Tensor(name, value.shape, constant=value) for name, value in graph.constants.items()}
    for entry in graph.inputs:
        bits = 8 * entry.dtype.itemsize if np.issubdtype(entry.dtype, np.integer) else None
        tensors[entry.name] = Tensor(entry.name, entry.shape, bits=bits)
    views = []
    readers: dict[str, list[NodeView]] = {}
    for index, node in enumerate(graph.nodes):
        operator = operator_of(node)
        inputs = tuple(tensors[name] if name else None for name in node.inputs)
        shapes = _stated(graph, node) or result_shapes(node, operator, inputs)
        outputs = []
        for position, name in enumerate(node.outputs):
            shape = shapes[position] if position < len(shapes) else None
            scale, bits = _grid(operator, node, inputs, position)
            outputs.append(Tensor(name, shape, scale, bits, maker=index))
        view = NodeView(index, node, operator, inputs, tuple(outputs))
        tensors.update((tensor.name, tensor) for tensor in outputs if tensor.name)
        for name in dict.fromkeys(filter(None, node.inputs)):
            readers.setdefault(name, []).append(view)
        views.append(view)
    return Program(graph, platform, tuple(views), tensors, {name: tuple(found) for name, found in readers.items()})


def operator_of(node: FileNode) -> OnnxOperator | None:
    """The operator of a node, under any of its names; the packer ignores the domain where it is another."""
    names = (node.op, full_name(LINGER, node.written), node.written)
    return next((OPERATOR_OF_NAME[name] for name in names if name in OPERATOR_OF_NAME), None)


def _stated(graph: FileGraph, node: FileNode) -> tuple[tuple[int, ...] | None, ...]:
    """Shapes that the file states, if it states that of the first output."""
    if not node.outputs or node.outputs[0] not in graph.shapes:
        return ()
    return tuple(graph.shapes.get(name) for name in node.outputs)


def _grid(
    operator: OnnxOperator | None, node: FileNode, inputs: tuple[Tensor | None, ...], position: int
) -> tuple[float | None, int | None]:
    """Scale and width that a node states for one of its outputs, or passes on."""
    first = inputs[0] if inputs else None
    if operator is None:
        return None, None
    if operator.passes_grid:
        return (None, None) if first is None else (first.scale, first.bits)
    if operator.result_grid is None or position > 0:
        return None, None
    scale, bits = (node.attributes.get(name) for name in operator.result_grid)
    return (None if scale is None else float(scale)), (None if bits is None else int(bits))
