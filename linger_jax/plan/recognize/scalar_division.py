"""Division by a known number: the multiplication with its reciprocal that a chip does instead."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from linger_jax.plan.graph import Constant, Node

SCALAR_DIVISION = "scalar_division"
"""Operator of such a division; a product in the end, or a division again."""


def scalar_division(node: Node, divisor: np.ndarray[Any, Any] | None) -> Node | None:
    """A division as one by a scalar.

    Args:
      node: a ``div`` of two operands with a float32 result.
      divisor: value of its second operand, where it is known.

    Returns:
      The node with the reciprocal as its second operand, or None where the divisor is not known, not one number, or has
      no reciprocal. Run as it is, it still divides.
    """
    if divisor is None or divisor.size == 0 or isinstance(node.inputs[0], Constant):
        return None
    numbers = np.unique(np.asarray(divisor, np.float32))
    if numbers.size != 1 or not np.isfinite(numbers[0]) or numbers[0] == 0:
        return None
    reciprocal = np.float32(1) / numbers[0]
    if not np.isfinite(reciprocal):
        return None
    return dataclasses.replace(
        node,
        op=SCALAR_DIVISION,
        inputs=(node.inputs[0], Constant(reciprocal, (), np.dtype(np.float32))),
        run=_division(node, np.asarray(divisor, np.float32)),
    )


def as_multiplication(node: Node) -> Node:
    """The multiplication with the reciprocal; its float run multiplies too."""
    return dataclasses.replace(node, op="mul", run=lambda x, reciprocal: [x * reciprocal])


def _division(node: Node, divisor: np.ndarray[Any, Any]) -> Callable[..., list[Any]]:
    divide = node.run
    assert divide is not None
    return lambda x, reciprocal: divide(x, divisor)
