"""One evaluation, recorded for an exporter."""

from __future__ import annotations

from typing import Any

import jax

from linger_jax.api import quant_collection
from linger_jax.api.plan_cache import PlanCache
from linger_jax.api.quant_collection import float_collections
from linger_jax.export.lower import Record, RecordedArrays, as_record, recorded_arrays
from linger_jax.interpret import Context, Mode, Recording, State, fixed_values, interpret
from linger_jax.staging import Call
from linger_jax.typing import Tree


def recorded(plan_cache: PlanCache, variables: Tree, call: Call, arrays: list[Any]) -> Record:
    """Evaluates a model once and keeps every scale and the integers of every parameter.

    Args:
      plan_cache: plans the calls of the model.
      variables: all collections.
      call: the static half of the call.
      arrays: its arrays.

    Raises:
      StateError: quantizer state is missing or of another shape.
    """
    float_variables = float_collections(variables)
    settings, plan = plan_cache.settings, plan_cache.plan(float_variables, call, arrays)
    leaves = jax.tree.leaves(float_variables)

    fixed = fixed_values(plan.graph, plan.graph.inputs[: len(plan.staged.variables)])

    def run(state: State, leaves: list[Any], arrays: list[Any]) -> RecordedArrays:
        recording = Recording(plan.quantizers, fixed)
        ctx = Context(
            settings=settings, quantizers=plan.quantizers, mode=Mode.evaluate, state=state, recording=recording
        )
        interpret(ctx, plan.graph, [*leaves, *arrays])
        return recorded_arrays(recording)

    arrays_of_run = jax.jit(run)(quant_collection.gather(plan, variables), leaves, arrays)
    return as_record(plan, arrays_of_run, dict(zip(plan.staged.variables, leaves, strict=True)))
