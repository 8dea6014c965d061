"""A record of an evaluation that did not take place: its scales, and parameters of the right shapes.

What becomes of a step on a chip hangs on shapes, widths and scales, not on weights and inputs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from linger_jax.compat import as_function, equations, without_unused
from linger_jax.export.lower import Record, RecordedArrays, as_record, recorder
from linger_jax.interpret import Context, Key, State
from linger_jax.plan import Plan
from linger_jax.typing import HostArray


@dataclasses.dataclass(frozen=True, eq=False)
class TracedEvaluation:
    """An evaluation of a plan as far as shapes go.

    Attributes:
      shapes: of all that is recorded.
      known: structure of what does not depend on the call's arrays: scales, and results of constants alone.
      compute: that, from the leaves of state, variables and arrays.
      used: which of these leaves count.
    """

    shapes: RecordedArrays
    known: Any
    compute: Callable[..., list[Any]]
    used: tuple[bool, ...]


def trace_evaluation(plan: Plan, state: State, leaves: Sequence[Any], arrays: Sequence[Any]) -> TracedEvaluation:
    """Traces a plan's evaluation; nothing is computed.

    Args:
      plan: of the call.
      state: of its quantizers; only shapes count, as of all others.
      leaves: the float model's variables.
      arrays: of the call.
    """
    record, traced = recorder(plan, _Traced), list[RecordedArrays]()

    def run(state: State, leaves: list[Any], arrays: list[Any]) -> RecordedArrays:
        found = record(state, leaves, arrays)
        traced[:] = [jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), found)]
        return dataclasses.replace(found, parameters={}, bias_steps={})

    closed, shapes = jax.make_jaxpr(run, return_shape=True)(state, list(leaves), list(arrays))
    needed, used = without_unused(closed)
    compute = jax.jit(as_function(needed)) if equations(needed) else as_function(needed)
    (whole,) = traced
    return TracedEvaluation(whole, jax.tree.structure(shapes), compute, tuple(used))


def abstract_record(
    plan: Plan, evaluation: TracedEvaluation, state: State, leaves: Sequence[Any], arrays: Sequence[Any]
) -> Record:
    """The evaluation of a plan as far as shapes and scales go.

    Computed are the scales, where they are not those that are stored, and what depends on variables and constants
    alone.

    Args:
      plan: of the call.
      evaluation: traced of it.
      state: of its quantizers.
      leaves: the float model's variables; of a ``jax.ShapeDtypeStruct`` zeros are taken.
      arrays: of the call; only shapes count.
    """
    inputs = jax.tree.leaves((state, list(leaves), list(arrays)))
    given = [_known(leaf) if used else _NOTHING for leaf, used in zip(inputs, evaluation.used, strict=True)]
    computed: RecordedArrays = jax.tree.unflatten(evaluation.known, evaluation.compute(*given))
    scales = {key: float(scale) for key, scale in computed.scales.items()}
    ranks = {scale: rank for rank, scale in enumerate(sorted(set(scales.values())), start=1)}

    def steps(key: Key, shape: Any) -> HostArray:
        """Whole numbers that are others where the scale is: a bias that is read at two scales is two biases."""
        return np.full(shape.shape, ranks.get(scales.get(key, 0.0), 0), shape.dtype)

    parameters = {key: jax.tree.map(_zeros, value) for key, value in evaluation.shapes.parameters.items()}
    biases = {key: steps(key, shape) for key, shape in evaluation.shapes.bias_steps.items()}
    variables = dict(zip(plan.staged.variables, map(_known, leaves), strict=True))
    return as_record(plan, RecordedArrays(scales, parameters, biases, computed.results), variables)


class _Traced(Context):
    """Evaluation whose numbers nobody looks at: its sums are formed of floats, which takes half the time to trace."""

    @property
    def in_integers(self) -> bool:
        return False


_NOTHING = np.float32(0)
"""In the place of an array that does not count."""


def _known(leaf: Any) -> Any:
    return _zeros(leaf) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf


def _zeros(shape: Any) -> HostArray:
    return np.zeros(shape.shape, shape.dtype)
