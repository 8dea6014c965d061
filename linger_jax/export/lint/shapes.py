"""Shapes of what a node makes, by following its rule without computing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from linger_jax.config import Compat
from linger_jax.errors import ExportError, LingerError
from linger_jax.export.lint.node_view import Tensor
from linger_jax.export.onnx import FileNode
from linger_jax.export.runner import IntegerTensor
from linger_jax.export.runner.operators import RULES, Call, run_node
from linger_jax.foreign_file import translated
from linger_jax.kinds import OnnxOperator
from linger_jax.plan import semantics

Shapes = tuple[tuple[int, ...] | None, ...]


def result_shapes(node: FileNode, operator: OnnxOperator | None, inputs: Sequence[Tensor | None]) -> Shapes:
    """Shapes of a node's outputs.

    Args:
      node: the node.
      operator: None for one that is not known.
      inputs: what it reads.

    Returns:
      One shape an output; none where the operator has no rule, an input's shape is not known, or the node is faulty:
      then other checks speak.
    """
    if operator is None or operator not in RULES or any(t is not None and t.shape is None for t in inputs):
        return ()
    symbols = {i: _symbol(t) for i, t in enumerate(inputs) if t is not None and t.constant is None}
    fixed = [None if t is None else t.constant for t in inputs]

    def run(given: dict[int, Any]) -> list[Any]:
        operands = tuple(given.get(i, value) for i, value in enumerate(fixed))
        results = run_node(operator, Call(node, operands, semantics(Compat.reference)))
        return [r.value if isinstance(r, IntegerTensor) else jnp.asarray(r) for r in results]

    try:
        with translated(f"node {node.name}", ExportError, "is faulty"):
            return tuple(tuple(r.shape) for r in jax.eval_shape(run, symbols))
    except LingerError:  # a faulty node is reported by the check that knows why
        return ()


def _symbol(tensor: Tensor) -> Any:
    assert tensor.shape is not None
    if tensor.scale is None:
        return jax.ShapeDtypeStruct(tensor.shape, jnp.float32 if tensor.bits is None else jnp.int32)
    return IntegerTensor(jax.ShapeDtypeStruct(tensor.shape, jnp.int32), tensor.scale, tensor.bits or 8)  # type: ignore[arg-type]
