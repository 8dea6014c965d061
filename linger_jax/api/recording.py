"""One evaluation, recorded for an exporter."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax

from linger_jax.api import state as quantizer_state
from linger_jax.api.running import staged_plan
from linger_jax.api.state import Tree, float_collections
from linger_jax.export.record import Record, as_record, recorded_arrays
from linger_jax.interpret import Context, Mode, State, interpret
from linger_jax.plan import PlanSettings
from linger_jax.staging import Call


def recorded(model: nn.Module, settings: PlanSettings, variables: Tree, call: Call, arrays: list[Any]) -> Record:
    """Evaluates a model once and keeps every scale and the integers of every parameter.

    Args:
      model: the unbound float model.
      settings: what the user asked for.
      variables: all collections.
      call: the static half of the call.
      arrays: its arrays.

    Raises:
      StateError: quantizer state is missing or of another shape.
    """
    float_variables = float_collections(variables)
    plan, staged = staged_plan(model, settings, float_variables, call, arrays)
    leaves = jax.tree.leaves(float_variables)

    def run(state: State, leaves: list[Any], arrays: list[Any]) -> Any:
        ctx = Context(settings=settings, quantizers=plan.quantizers, mode=Mode.evaluate, state=state, recorded={})
        interpret(ctx, plan.graph, [*leaves, *arrays])
        return recorded_arrays(ctx)

    arrays_of_run = jax.jit(run)(quantizer_state.gather(plan, variables), leaves, arrays)
    return as_record(plan, arrays_of_run, dict(zip(staged.variables, leaves, strict=True)))
