"""All results of a function of 8 bits, computed by the rules that run files."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from linger_jax.config import Compat
from linger_jax.export.dialects.thinker.rescale import grid_of
from linger_jax.export.dialects.thinker.tables.one_tensor import Function
from linger_jax.export.onnx import FileNode, OnnxGraph
from linger_jax.export.runner import IntegerTensor, limits
from linger_jax.export.runner.operators import Call, run_node
from linger_jax.numerics.look_up import FIRST_OPERAND, TABLE_SIZE
from linger_jax.plan import semantics
from linger_jax.typing import HostArray


def tabulated(graph: OnnxGraph, function: Function) -> IntegerTensor:
    """The 256 results of a function, in the order of its operand; beyond a narrower operand's limits those repeat.

    Args:
      graph: holds the function.
      function: of a tensor whose grid is known.

    Returns:
      int32[256] on the grid of the function's result.
    """
    grid = grid_of(graph, function.source)
    assert grid is not None, function.source
    every = np.clip(np.arange(FIRST_OPERAND, FIRST_OPERAND + TABLE_SIZE, dtype=np.int32), *limits(grid.bits))
    values = {function.source: IntegerTensor(jnp.asarray(every), grid.scale, grid.bits)}
    for node in function.nodes:
        operands = tuple(values[t] if t in values else _number(graph.constants[t]) for t in node.inputs)
        read = FileNode(node.name, str(node.operator), tuple(node.inputs), tuple(node.outputs), node.attributes)
        (values[node.outputs[0]],) = run_node(node.operator, Call(read, operands, semantics(Compat.chip)))
    return values[function.result]


def _number(constant: HostArray) -> HostArray:
    """A constant as the rules take it: one number without axes; the results of a table as they are."""
    array = np.asarray(constant)
    return array if array.size > 1 else array.reshape(())
