"""One run of a model, or one recorded for an exporter: stage, plan, interpret; pure in variables and arrays."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from linger_jax.api import quant_collection
from linger_jax.api.findings import Finding, Kind, finding
from linger_jax.api.plan_cache import PlanCache
from linger_jax.api.quant_collection import QUANT, float_collections
from linger_jax.compat.linen import in_collections, without_collections
from linger_jax.errors import StateError
from linger_jax.export.lower import Record, as_record, recorder
from linger_jax.interpret import Context, Mode, State, clamp_parameters, interpret, plain
from linger_jax.plan import Plan, PlanSettings
from linger_jax.quantizers import QTensor, QuantizerKind, saw_data
from linger_jax.staging import Call
from linger_jax.typing import Path, Tree


@dataclasses.dataclass(frozen=True)
class Run:
    """The static half of a run; hashable if its call is, so that compiled runs can be kept.

    Attributes:
      call: the static half of the model's call.
      written: collections that the caller gets back.
      calibrating: whether this is a calibration pass.
      keep_qtensors: whether outputs on an integer grid stay a ``QTensor``.
      in_integers: whether an evaluation forms its sums of integers.
    """

    call: Call
    written: tuple[str, ...]
    calibrating: bool
    keep_qtensors: bool = False
    in_integers: bool = False

    def mode(self, settings: PlanSettings) -> Mode:
        """Statistics move if and only if ``quant`` is written."""
        if settings.purpose != "quantize":
            return Mode.constrain
        if self.calibrating:
            return Mode.calibrate
        if self.in_integers:
            return Mode.integer
        return Mode.train if QUANT in self.written else Mode.evaluate


def initial_variables(plan: Plan, variables: Tree) -> Tree:
    """Float collections with fresh quantizer state, weights clamped as the first training step would.

    Source: docs/decisions.md D24.
    """
    params = variables.get("params", {})
    inputs = dict(zip(plan.staged.variables, jax.tree.leaves(variables), strict=True))
    clamped, state = clamp_parameters(plan.quantizers, inputs, quant_collection.initial(plan), Mode.train)
    quant, params = quant_collection.scatter(state, {}, quant_collection.with_parameters(params, clamped))
    return {**variables, "params": params, QUANT: quant}


def run_model(
    plan_cache: PlanCache, run: Run, variables: Tree, arrays: list[Any], seen: State
) -> tuple[Any, Tree, tuple[Finding, ...], State]:
    """Runs a model once.

    Args:
      plan_cache: plans the calls of the model.
      run: the static half.
      variables: all collections, ``quant`` included.
      arrays: the arrays of the call, in order.
      seen: of a calibration, what it saw of each quantizer before this batch; else empty.

    Returns:
      Output, updated collections, what the run found out about its quantizers, and ``seen`` after it.

    Raises:
      StateError: quantizer state is missing or of another shape; under ``compat: reference``, a shared layer in
        calibration.
    """
    float_variables = float_collections(variables)
    settings, plan = plan_cache.settings, plan_cache.plan(float_variables, run.call, arrays)
    staged = plan.staged
    mode = run.mode(settings)
    before = {} if mode is Mode.constrain else quant_collection.gather(plan, variables)
    if mode is Mode.calibrate and not settings.semantics.shared_layers_calibrate:
        _refuse_shared_layers(plan)
    if mode is Mode.calibrate:
        before = {path: {**entries, **seen[path]} for path, entries in before.items()}
    named = list(zip(staged.variables, jax.tree.leaves(float_variables), strict=True))
    clamped, state = clamp_parameters(plan.quantizers, dict(named), before, mode)
    ctx = Context(
        settings=settings, quantizers=plan.quantizers, mode=mode, state=state, writes_state=QUANT in run.written
    )
    results = interpret(ctx, plan.graph, [*(clamped.get(path, leaf) for path, leaf in named), *arrays])
    finish: Callable[[Any], Any] = (lambda value: value) if run.keep_qtensors else plain
    output, updates = jax.tree.unflatten(staged.out_tree, [finish(r) for r in results])
    if mode is Mode.integer:
        output = _without_integers(output, ctx.non_finite)
    updates = {c: jax.tree.map(plain, v, is_leaf=_is_qtensor) for c, v in dict(updates).items()}
    # Flax leaves out a collection without entries; a caller who asked for one gets it back unchanged.
    updates = {c: {} for c in run.written if c in float_variables and not float_variables[c]} | updates
    params = quant_collection.with_parameters(variables.get("params", {}), jax.lax.stop_gradient(clamped))
    state, seen = _without(ctx.state, seen)
    quant, params = quant_collection.scatter(state, variables.get(QUANT, {}), params)
    calibrates = mode is Mode.calibrate
    if calibrates or "params" in run.written:
        updates["params"] = params
    if calibrates or QUANT in run.written:
        updates[QUANT] = quant
    return output, updates, _findings(settings, plan, ctx, before), seen


def run_float(
    model: nn.Module, variables: Tree, args: Any, kwargs: Any, rngs: Any, method: Any, mutable: Any
) -> tuple[Any, Tree]:
    """The float model itself (``open_quant: false``): output and updated collections; ``quant`` is an empty one."""
    floats = {name: entries for name, entries in variables.items() if name != QUANT}
    kept = without_collections(mutable, [QUANT])
    output, updates = model.apply(floats, *args, rngs=rngs, method=method, mutable=kept, **kwargs)
    return output, {**updates, **({QUANT: {}} if in_collections(mutable, QUANT) else {})}


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
    plan = plan_cache.plan(float_variables, call, arrays)
    leaves = jax.tree.leaves(float_variables)
    arrays_of_run = jax.jit(recorder(plan))(quant_collection.gather(plan, variables), leaves, arrays)
    return as_record(plan, arrays_of_run, dict(zip(plan.staged.variables, leaves, strict=True)))


def _without(state: State, seen: State) -> tuple[State, State]:
    """A state without what a calibration saw; and that."""
    return (
        {path: {k: v for k, v in entries.items() if k not in seen.get(path, ())} for path, entries in state.items()},
        {path: {k: state[path][k] for k in entries} for path, entries in seen.items()},
    )


def _without_integers(output: Any, saw_nan: Mapping[Path, jax.Array]) -> Any:
    """The outputs of an evaluation in integers, all real ones NaN where a quantizer met NaN (docs/decisions.md D35)."""
    met = functools.reduce(jnp.logical_or, saw_nan.values(), jnp.zeros((), jnp.bool_))
    return jax.tree.map(
        lambda leaf: jnp.where(met, jnp.nan, leaf) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf,
        output,
    )


def _findings(settings: PlanSettings, plan: Plan, ctx: Context, before: State) -> tuple[Finding, ...]:
    if ctx.mode is Mode.calibrate:
        calibrated = {path: saw_data(before[path]) for path in ctx.non_finite}
        return finding(Kind.non_finite, ctx.non_finite), finding(Kind.calibrated, calibrated)
    nan = (finding(Kind.nan_in_integers, ctx.non_finite),) if ctx.mode is Mode.integer else ()
    if ctx.evaluating and settings.semantics.warns_of_unseen_data and not ctx.in_float:
        unseen = {
            path: ~saw_data(before[path]) & (before[path]["scale"] == 1.0)
            for path, quantizer in plan.quantizers.items()
            if quantizer.active and quantizer.fixed_scale is None and quantizer.spec.kind is not QuantizerKind.bias
        }
        return (*nan, finding(Kind.unseen, unseen))
    return nan


def _refuse_shared_layers(plan: Plan) -> None:
    shared = [".".join(path) for path, quantizer in plan.quantizers.items() if quantizer.visits > 1]
    if shared:
        raise StateError(
            f"has been calibrated: {', '.join(shared)} is reached twice in one pass (a shared module); "
            "compat: chip joins the statistics instead"
        )


def _is_qtensor(value: Any) -> bool:
    return isinstance(value, QTensor)
