"""Nested jits: which are looked into, and which only move the values they are given."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from linger_jax.compat import CALL, ClosedJaxpr, Operation, equations, inputs, is_literal, operation, outputs
from linger_jax.kinds import MOVE_OF_PRIMITIVE
from linger_jax.plan.graph import INLINED_LIBRARY_CALLS, Atom, Constant, is_library_call


@dataclasses.dataclass(frozen=True)
class Inlined:
    """A nested jit whose equations take their place in the graph.

    Attributes:
      closed: its jaxpr.
      is_library: it was written inside JAX, not by the user.
      one_source: it rearranges one array only (``jnp.roll``, padding by reflection): what it concatenates are parts of
        that array, on one grid.
    """

    closed: ClosedJaxpr
    is_library: bool = True
    one_source: bool = False


def inlined(call: Operation, operands: Sequence[Atom]) -> Inlined | None:
    """How to look into a nested jit; None where it stays one node.

    A user's own function is always looked into. A library function is when it is an operator of the plan under another
    name, or when it only moves values.
    """
    closed = call.params["jaxpr"]
    if not is_library_call(closed):
        return Inlined(closed, is_library=False)
    moved = [
        not isinstance(atom, Constant) and _is_float(var) for atom, var in zip(operands, inputs(closed), strict=True)
    ]
    if _carried(closed, moved) is not None:
        return Inlined(closed, one_source=sum(moved) == 1)
    return Inlined(closed) if call.params["name"] in INLINED_LIBRARY_CALLS else None


def _is_float(var: Any) -> bool:
    return bool(jnp.issubdtype(var.aval.dtype, jnp.inexact))


def _carried(closed: ClosedJaxpr, moved: Sequence[bool]) -> list[bool] | None:
    """Which results are unchanged floats of the marked operands; None where something is computed from such a float."""
    known: dict[Any, bool] = dict(zip(inputs(closed), moved, strict=True))

    def is_carried(var: Any) -> bool:
        return not is_literal(var) and known.get(var, False)

    for eqn in equations(closed):
        operands = [is_carried(v) for v in eqn.invars]
        floats = [_is_float(v) for v in eqn.outvars]
        what = operation(eqn)
        results: list[bool] | None
        if not any(operands) or not any(floats):
            results = [False] * len(eqn.outvars)
        elif what.name == CALL:
            results = _carried(what.params["jaxpr"], operands)
        else:
            results = floats if what.name in MOVE_OF_PRIMITIVE else None
        if results is None:
            return None
        known.update(zip(eqn.outvars, results, strict=True))
    return [is_carried(v) for v in outputs(closed)]
