"""The nodes that read a table: an index from 0 to 255 of each element, and a Gather."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from linger_jax.config import RoundMode
from linger_jax.export.dialects.thinker.rescale import grid_of, parts_of_one_grid, platform_of
from linger_jax.export.dialects.thinker.tables.one_tensor import Function
from linger_jax.export.lower import Grid
from linger_jax.export.onnx import (
    ElementType,
    GraphNode,
    Made,
    OnnxGraph,
    insert,
    integer_type,
    kind_of,
    makers,
    reshape_at,
    shape_of,
    slice_constants,
)
from linger_jax.export.runner import IntegerTensor
from linger_jax.kinds import BIAS_BITS, OnnxOperator
from linger_jax.kinds import onnx_operators as ops
from linger_jax.numerics.look_up import FIRST_OPERAND
from linger_jax.targets import LookUp, TableIndex
from linger_jax.typing import Shape

_INDEX: ElementType = "int32"
_WIDTH = 8
_FINER = 2
"""How much finer than the index its summands lie: an executor never returns from adding a constant otherwise."""
_AXIS = 1
"""Of the elements in a row, along which they are cut."""


def write_look_up(graph: OnnxGraph, function: Function, table: IntegerTensor, form: LookUp) -> bool:
    """Puts the look-up of a table in the place of a function, in parts where it has too many elements.

    Args:
      graph: is changed.
      function: goes; its result keeps its name.
      table: its 256 results.
      form: what the chip takes.

    Returns:
      Whether the chip has such a look-up; else nothing is changed.
    """
    shape = shape_of(graph, function.source)
    elements = math.prod(shape)
    count = -(-elements // form.elements)
    if count > 1 and table.bits not in form.joined_bits:
        return False
    grid = grid_of(graph, function.source)
    assert grid is not None, function.source
    written = _Written(graph, function.nodes[-1], grid, table, _INDEX_OF[form.index])
    row: Shape = (1, elements, 1)
    if count > 1:
        result = written.reshaped(written.in_parts(written.reshaped(function.source, row), count), shape)
    elif form.index is TableIndex.product:
        result = written.reshaped(written.look_up(written.reshaped(function.source, row)), shape)
    else:
        result = written.look_up(function.source)
    makers(graph)[result].outputs = [function.result]
    for node in function.nodes:
        graph.nodes.remove(node)
    return True


@dataclasses.dataclass(frozen=True)
class _Written:
    """The nodes of one function, as they are written in front of its last one."""

    graph: OnnxGraph
    before: GraphNode
    grid: Grid
    table: IntegerTensor
    index: Callable[[_Written, str], str]

    def node(
        self, operator: OnnxOperator, inputs: list[str], shape: Shape, kind: ElementType, attributes: Mapping[str, Any]
    ) -> str:
        """A new node."""
        if operator.quantized:
            attributes = {"platform": platform_of(self.graph), **attributes}
        if operator.states_rounding:
            attributes = {"quant_mode": RoundMode.floor_add.value, **attributes}
        place, made = self.graph.nodes.index(self.before), Made(shape=shape, kind=kind)
        return insert(self.graph, place, operator, inputs, made, attributes=attributes, label=self.before.label)

    def reshaped(self, tensor: str, shape: Shape) -> str:
        """The tensor in another shape."""
        return reshape_at(self.graph, self.graph.nodes.index(self.before), tensor, shape)

    def look_up(self, tensor: str) -> str:
        """Index and Gather."""
        table, bits = self.table, self.table.bits
        stored = self.graph.constant(
            f"{self.before.label}.table".lstrip("."), np.asarray(table.value).astype(integer_type(bits))
        )
        attributes = {"axis": 0, "scale_w": table.scale, "w_bits": bits, "scale_o": table.scale}
        inputs = [stored, self.index(self, tensor)]
        return self.node(ops.TABLE_GATHER, inputs, shape_of(self.graph, tensor), integer_type(bits), attributes)

    def in_parts(self, row: str, count: int) -> str:
        """Parts of one length, looked up one by one and joined."""
        shape = shape_of(self.graph, row)
        length = -(-shape[_AXIS] // count)
        parts = []
        for start in range(0, shape[_AXIS], length):
            end = min(start + length, shape[_AXIS])
            inputs = [row, *slice_constants(self.graph, [start], [end], [_AXIS], [1])]
            part = self.node(ops.SLICE, inputs, (1, end - start, 1), kind_of(self.graph, row), {})
            parts.append(self.look_up(part))
        return self.joined(parts)

    def joined(self, parts: list[str]) -> str:
        """Parts behind one another."""
        bits, scale = self.table.bits, self.table.scale
        attributes = {"axis": _AXIS, **parts_of_one_grid(Grid(scale, bits), len(parts))}
        length = sum(shape_of(self.graph, part)[_AXIS] for part in parts)
        return self.node(ops.QCAT, parts, (1, length, 1), integer_type(bits), attributes)


def _by_product(written: _Written, tensor: str) -> str:
    """1 * x + 128, by a linear layer of one input and one output."""
    graph, grid = written.graph, written.grid
    inputs = [
        tensor,
        graph.constant("look_up_one", np.ones((1, 1), np.int8)),
        graph.constant("look_up_first", np.full(1, -FIRST_OPERAND, np.int32)),
    ]
    attributes = {"x_bits": _WIDTH, "scale_x": grid.scale, "w_bits": _WIDTH, "scale_w": 1.0}
    attributes |= {"o_bits": BIAS_BITS, "scale_o": grid.scale}
    return written.node(ops.QLINEAR, inputs, shape_of(graph, tensor), _INDEX, attributes)


def _by_addition(written: _Written, tensor: str) -> str:
    """(2 x + 256) / 2, by a sum of 32 bits."""
    graph, scale = written.graph, written.grid.scale
    shape, finer = shape_of(graph, tensor), _FINER * scale
    wide = {"data_bits": BIAS_BITS, "o_bits": BIAS_BITS, "scale_x": scale, "scale_o": finer}
    widened = written.node(ops.REQUANT, [tensor], shape, _INDEX, wide)
    first = graph.constant(f"look_up_first_{math.prod(shape)}", np.full(shape, -FIRST_OPERAND * _FINER, np.int32))
    attributes = {"x_bits": BIAS_BITS, "scale_x": finer, "y_bits": BIAS_BITS, "scale_y": finer}
    attributes |= {"o_bits": BIAS_BITS, "scale_o": scale}
    return written.node(ops.QADD, [widened, first], shape, _INDEX, attributes)


_INDEX_OF: Mapping[TableIndex, Callable[[_Written, str], str]] = {
    TableIndex.product: _by_product,
    TableIndex.addition: _by_addition,
}
