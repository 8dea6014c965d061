"""What the chip makes of a call: asked for with the plan, and before anything is trained (docs/decisions.md D33)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax.errors import FlaxError

from linger_jax.api import quant_collection
from linger_jax.api.plan_cache import PlanCache
from linger_jax.api.quant_collection import QUANT
from linger_jax.compat import is_tracer
from linger_jax.errors import ExportError, PlanError, StateError
from linger_jax.export.dialects import first_sample
from linger_jax.export.verdict import abstract_record, device_verdict, not_to_be_judged
from linger_jax.interpret import State
from linger_jax.plan import DeviceVerdict, Judgement, Plan, unjudged
from linger_jax.quantizers import QuantizerKind, saw_data
from linger_jax.staging import split_call
from linger_jax.typing import Tree, Variables

_FRESH = "judged at the scales of quantizers that have seen no data: plan again once they are calibrated"


def verdict_on(
    plan_cache: PlanCache,
    plan: Plan,
    variables: Variables,
    floats: Tree,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    rngs: Any,
    method: Any,
    mutable: tuple[str, ...],
) -> DeviceVerdict | None:
    """The verdict on the first sample of a call, at the scales that the variables hold.

    Args:
      plan_cache: plans the calls of the model.
      plan: of the call.
      variables: all collections, or the float model's: then the scales are those of fresh quantizers.
      floats: the float model's collections, folded.
      args, kwargs, rngs, method, mutable: of the call; arrays may be ``jax.ShapeDtypeStruct``.

    Returns:
      None for a model that is not quantized, and while the call is being traced.
    """
    settings, whole = plan.settings, plan
    if settings.purpose != "quantize" or not settings.config.open_quant:
        return None
    if any(is_tracer(leaf) for leaf in jax.tree.leaves((dict(variables), args, dict(kwargs)))):
        return None
    platform = settings.config.platform.value
    try:
        args, kwargs = first_sample(plan, args, kwargs)
        call, arrays = split_call(args, kwargs, rngs, method, mutable)
        plan = plan_cache.plan(floats, call, arrays)
        beforehand = not_to_be_judged(plan)
        if beforehand is not None:
            return beforehand
        state, leaves = _state(plan, variables), jax.tree.leaves(floats)
        record = abstract_record(plan, plan_cache.evaluation(plan, state, leaves, arrays), state, leaves, arrays)
        return device_verdict(record, _FRESH if _unseen(plan, state) else "")
    except (TypeError, ValueError, FlaxError) as error:
        why = str(error) if isinstance(error, ExportError) else f"the model does not run on one sample: {error}"
        unknown = unjudged(platform, whole.rows(), "")
        return dataclasses.replace(unknown, judged=True, elsewhere=(Judgement(word="refused", why=why),))


def refuse_for_device(plan: Plan) -> None:
    """Refuses what the chip of a plan with a verdict refuses, whatever the scales become.

    Raises:
      PlanError: names every row, and what to change.
    """
    verdict = plan.device
    if verdict is None:
        return
    rows = zip(plan.rows(), verdict.rows, strict=True)
    lasting = [f"{row.name}: {row.op}: {found.why}" for row, found in rows if found.lasts]
    lasting += [found.why for found in verdict.elsewhere if found.lasts]
    if lasting:
        lines = "\n".join(f"  {text}" for text in lasting)
        raise PlanError(
            f"strict='device': {verdict.platform} would refuse these; change the model, or leave the parts off the "
            f"chip and strict at True:\n{lines}"
        )


def _state(plan: Plan, variables: Variables) -> State:
    """Of the quantizers, as far as it is known."""
    try:
        state = quant_collection.gather(plan, variables) if QUANT in variables else quant_collection.initial(plan)
    except StateError:  # variables of another kind of call
        return quant_collection.initial(plan)
    abstract = any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(state))
    return quant_collection.initial(plan) if abstract else state


def _unseen(plan: Plan, state: State) -> bool:
    """Whether the scale of a value is that of a quantizer which has seen nothing."""
    own = (
        path
        for path, quantizer in plan.quantizers.items()
        if quantizer.active and quantizer.fixed_scale is None and quantizer.spec.kind is QuantizerKind.activation
    )
    return not all(np.all(saw_data(state[path])) for path in own)
