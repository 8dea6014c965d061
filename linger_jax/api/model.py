"""A quantized (or constrained) model with the calling conventions of a Linen module."""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import flax.core
import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.core.scope import DenyList, in_filter, intersect_filters

from linger_jax.api import state as quantizer_state
from linger_jax.api.mode import Calibration, current_calibration
from linger_jax.api.state import Tree
from linger_jax.errors import LingerError, LingerWarning, StateError
from linger_jax.interpret import Context, Mode, interpret
from linger_jax.interpret.context import plain
from linger_jax.plan import Plan, PlanError, PlanSettings, build_plan
from linger_jax.quantizers import QTensor, QuantizerKind
from linger_jax.staging import Call, split_call, stage

Variables = Mapping[str, Any]


class QuantizedModel:
    """An unmodified Flax model, interpreted with quantizers; made by :func:`linger_jax.init`.

    ``init``, ``adopt``, ``plan`` and ``apply`` take the model's own positional and keyword arguments, ``rngs`` and
    ``method``. All state is in the variables; an instance only remembers compiled functions and the ranks it was
    initialised with, so one instance may serve several threads.
    """

    def __init__(self, model: nn.Module, settings: PlanSettings) -> None:
        self.model = model
        self.settings = settings
        self._compiled: dict[Any, Callable[..., Any]] = {}
        self._ranks: dict[Any, tuple[tuple[str, int], ...]] = {}
        self._warned = False
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({type(self.model).__name__}, {self.settings.purpose}, active={self.active})"

    @property
    def active(self) -> bool:
        """False where ``open_quant: false`` makes this exactly the float model."""
        return self.settings.config.open_quant

    # --- making variables ---

    def init(self, rngs: Any = None, *args: Any, method: Any = None, **kwargs: Any) -> Tree:
        """Initialises the float model and fresh quantizer state.

        Args:
          rngs: a key or a mapping of keys as in ``nn.Module.init``; None takes the configuration's ``seed`` (D16).
          *args, **kwargs: the model's own arguments.
          method: the model's method, as in ``nn.Module.init``.

        Returns:
          The float collections and ``quant``; under TQT also ``learning_data`` inside ``params``.
        """
        if rngs is None:
            rngs = jax.random.key(self.settings.config.seed)
        values, named = jax.tree.map(plain, (args, kwargs), is_leaf=_is_qtensor)
        variables = self.model.init(rngs, *values, method=method, **named)
        spare = {name: key for name, key in rngs.items() if name != "params"} if isinstance(rngs, Mapping) else None
        return self.adopt(variables, *args, rngs=spare, method=method, **kwargs)

    def adopt(self, variables: Variables, *args: Any, rngs: Any = None, method: Any = None, **kwargs: Any) -> Tree:
        """Pretrained float variables plus fresh quantizer state.

        Weights come back with the one-time clamp of the first MOM step already applied (decision D24).

        Raises:
          PlanError: the model has no layer to quantize, or, with ``strict``, something stays float.
        """
        variables = _float_collections(variables)
        self._remember_ranks(args, kwargs, method)
        if not self.active:
            return variables
        plan = self.plan(variables, *args, rngs=rngs, method=method, **kwargs)
        if not any(row.status in ("quantized", "constrained") for row in plan.rows()):
            reasons = "\n".join(f"  {r.name}: {r.op}: {r.reason}" for r in plan.rows())
            raise PlanError(
                f"{type(self.model).__name__} has no layer to {self.settings.purpose}"
                + (f"; what was found:\n{reasons}" if reasons else "")
            )
        if self.settings.purpose == "constrain":
            return variables
        state = quantizer_state.initial(plan)
        params = quantizer_state.copied(variables.get("params", {}))
        quantizer_state.clamp_parameters(plan, params, state)
        quant, params = quantizer_state.scatter(state, {}, params)
        return {**variables, "params": params, "quant": quant}

    def plan(self, variables: Variables, *args: Any, rngs: Any = None, method: Any = None, **kwargs: Any) -> Plan:
        """The coverage of one call: every layer and operator, quantized or why not. Arrays may be shapes only."""
        variables = _float_collections(variables)
        mutable = tuple(c for c in variables if c != "params")
        call, arrays = split_call(args, kwargs, rngs, method, mutable)
        self._refuse_empty(arrays)
        return self._plan(variables, call, arrays)[0]

    def _plan(self, variables: Variables, call: Call, arrays: list[Any]) -> tuple[Plan, Any]:
        staged = stage(self.model, variables, call, arrays)
        bits = tuple(a.bits if isinstance(a, QTensor) else None for a in arrays)
        return build_plan(staged, self.settings, bits), staged

    # --- running ---

    def apply(
        self,
        variables: Variables,
        *args: Any,
        rngs: Any = None,
        method: Any = None,
        mutable: Any = False,
        **kwargs: Any,
    ) -> Any:
        """Runs the model. Statistics move if and only if ``quant`` is mutable.

        Args:
          variables: all collections, ``quant`` included.
          *args, **kwargs, rngs, method: as in ``nn.Module.apply``.
          mutable: collections to return updated, as in ``nn.Module.apply``. Under :func:`linger_jax.calibration` the
            update always holds ``quant`` and ``params``, since calibration writes both (thresholds, clamped weights).

        Returns:
          The model's output, or ``(output, updates)`` when ``mutable`` is given.
        """
        output, updates = self._run(variables, args, kwargs, rngs, method, mutable, plain)
        return output if mutable is False and current_calibration() is None else (output, updates)

    def apply_qtensor(self, variables: Variables, *args: Any, mutable: Any = False, **kwargs: Any) -> Any:
        """Like :meth:`apply`; outputs that lie on an integer grid come as :class:`QTensor`."""
        rngs, method = kwargs.pop("rngs", None), kwargs.pop("method", None)
        output, updates = self._run(variables, args, kwargs, rngs, method, mutable, _keep)
        return output if mutable is False and current_calibration() is None else (output, updates)

    def _run(
        self,
        variables: Variables,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        rngs: Any,
        method: Any,
        mutable: Any,
        finish: Callable[[Any], Any],
    ) -> tuple[Any, Tree]:
        variables = dict(flax.core.unfreeze(dict(variables)))
        self._check_ranks(args, kwargs, method)
        if not self.active:
            return self._run_float(variables, args, kwargs, rngs, method, mutable)
        calibrating = current_calibration()
        if calibrating is not None and self.settings.purpose == "constrain":
            raise LingerError("a constrained model has no quantizers to calibrate")
        names = tuple(sorted({c for c in (*variables, "quant", "params") if in_filter(mutable, c)}))
        call, arrays = split_call(args, kwargs, rngs, method, _model_mutable(mutable))
        self._refuse_empty(arrays)
        if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((variables, arrays))):
            output, updates, _ = self._traced(call, names, calibrating, finish, variables, arrays)
            return output, updates
        run = self._compiled_run(call, names, calibrating, finish)
        output, updates, notes = run(variables, arrays)
        self._report(notes, calibrating)
        return output, updates

    def _run_float(
        self, variables: Tree, args: Any, kwargs: Any, rngs: Any, method: Any, mutable: Any
    ) -> tuple[Any, Tree]:
        variables.pop("quant", None)
        names = [c for c in variables if in_filter(mutable, c)]
        output, updates = self.model.apply(variables, *args, rngs=rngs, method=method, mutable=names, **kwargs)
        return output, {**updates, **({"quant": {}} if in_filter(mutable, "quant") else {})}

    def _compiled_run(self, call: Call, *rest: Any) -> Callable[..., Any]:
        run = functools.partial(self._traced, call, *rest)
        key = (call, *rest)
        try:
            hash(key)
        except TypeError:
            return run
        with self._lock:
            return self._compiled.setdefault(key, jax.jit(run))

    def _traced(
        self,
        call: Call,
        names: tuple[str, ...],
        calibrating: Calibration | None,
        finish: Callable[[Any], Any],
        variables: Tree,
        arrays: list[Any],
    ) -> tuple[Any, Tree, dict[str, Any]]:
        """Stage, plan, interpret: pure in ``variables`` and ``arrays``."""
        float_variables = _float_collections(variables)
        plan, staged = self._plan(float_variables, call, arrays)
        constrain = self.settings.purpose == "constrain"
        state = {} if constrain else quantizer_state.gather(plan, variables)
        if constrain:
            mode = Mode.constrain
        elif calibrating is not None:
            mode = Mode.calibrate
        else:
            mode = Mode.train if "quant" in names else Mode.evaluate
        if mode is Mode.calibrate:
            _refuse_second_calibration(plan, state, calibrating, self.settings)
        ctx = Context(
            settings=self.settings,
            quantizers=plan.quantizers,
            mode=mode,
            state=dict(state),
            accumulate=calibrating is Calibration.accumulate,
        )
        results = interpret(ctx, plan.graph, [*jax.tree.leaves(float_variables), *arrays])
        output, updates = jax.tree.unflatten(staged.out_tree, [finish(r) for r in results])
        updates = {c: jax.tree.map(plain, v, is_leaf=_is_qtensor) for c, v in dict(updates).items()}
        params = quantizer_state.copied(variables.get("params", {}))
        for path, value in ctx.parameters.items():
            if path[0] == "params":
                quantizer_state.set_in(params, path[1:], value)
        quant, params = quantizer_state.scatter(ctx.state, variables.get("quant", {}), params)
        if "params" in names or mode is Mode.calibrate:
            updates["params"] = params
        if "quant" in names or mode is Mode.calibrate:
            updates["quant"] = quant
        notes: dict[str, Any] = {}
        if mode is Mode.calibrate:
            notes = {f"non_finite {'.'.join(path)}": jnp.any(flag) for path, flag in ctx.non_finite.items()}
            notes |= {
                f"calibrated {'.'.join(path)}": jnp.any(_ready(plan, path, state))
                for path in ctx.non_finite
                if calibrating is Calibration.once
            }
        elif mode is Mode.evaluate and self.settings.choices.warns_of_unseen_data:
            notes = {
                ".".join(path): jnp.any(~_ready(plan, path, state) & (state[path]["scale"] == 1.0))
                for path, q in plan.quantizers.items()
                if q.active and q.spec.kind is not QuantizerKind.bias
            }
        return output, updates, notes

    # --- checks ---

    def _report(self, notes: dict[str, Any], calibrating: Calibration | None) -> None:
        flags = {name: bool(flag) for name, flag in zip(notes, jax.device_get(list(notes.values())), strict=True)}
        raised = [name for name, flag in flags.items() if flag]
        if not raised:
            return
        if calibrating is None:
            with self._lock:
                warned, self._warned = self._warned, True
            if not warned:
                warnings.warn(
                    "evaluating quantizers that never saw data (their scale is 1): "
                    + ", ".join(raised)
                    + ". Calibrate or train first.",
                    LingerWarning,
                    stacklevel=4,
                )
            return
        for kind, text in (
            ("non_finite", "calibration data contains NaN or infinity at"),
            ("calibrated", "has been calibrated already (or trained); a second calibration would lose it:"),
        ):
            names = [name.split(" ", 1)[1] for name in raised if name.startswith(kind)]
            if names:
                raise StateError(f"{text} {', '.join(names)}")

    @staticmethod
    def _refuse_empty(arrays: list[Any]) -> None:
        for array in arrays:
            shape = jnp.shape(plain(array)) if not isinstance(array, jax.ShapeDtypeStruct) else array.shape
            if 0 in shape:
                raise LingerError(f"an input has shape {shape}: an empty batch has no statistic")

    @staticmethod
    def _input_ranks(args: Any, kwargs: Any) -> tuple[tuple[str, int], ...]:
        named, _ = jax.tree_util.tree_flatten_with_path((args, kwargs), is_leaf=_is_qtensor)
        return tuple(
            (("args", "kwargs")[path[0].idx] + jax.tree_util.keystr(path[1:]), len(plain(leaf).shape))
            for path, leaf in named
            if hasattr(plain(leaf), "shape")
        )

    def _remember_ranks(self, args: Any, kwargs: Any, method: Any) -> None:
        with self._lock:
            self._ranks[method] = self._input_ranks(args, kwargs)

    def _check_ranks(self, args: Any, kwargs: Any, method: Any) -> None:
        known = dict(self._ranks.get(method, ()))
        for name, rank in self._input_ranks(args, kwargs):
            if name in known and known[name] != rank:
                raise LingerError(
                    f"{name} has rank {rank}, the model was initialised with rank {known[name]}; "
                    f"initialise again (init or adopt) for inputs of this rank"
                )


def _model_mutable(mutable: Any) -> Any:
    """The part of a ``mutable`` filter that concerns the float model: parameters and quantizers are ours to write."""
    kept = intersect_filters(mutable, DenyList(("quant", "params")))
    return tuple(sorted(kept)) if isinstance(kept, (set, frozenset, list, tuple)) else kept


def _keep(value: Any) -> Any:
    return value


def _is_qtensor(value: Any) -> bool:
    return isinstance(value, QTensor)


def _float_collections(variables: Variables) -> Tree:
    """The float model's collections, without quantizer state."""
    unfrozen = flax.core.unfreeze(dict(variables))
    kept = {c: v for c, v in unfrozen.items() if c != "quant"}
    if "params" in kept:
        kept["params"] = quantizer_state.without_thresholds(kept["params"])
    return kept


def _ready(plan: Plan, path: Any, state: Any) -> Any:
    entries = state[path]
    return entries["is_init"] if "is_init" in entries else entries["is_calibrate"]


def _refuse_second_calibration(plan: Plan, state: Any, calibrating: Calibration | None, settings: PlanSettings) -> None:
    """A module that is called twice in one calibration pass is refused where the reference refuses it (config.md 4)."""
    del state, calibrating
    if settings.choices.shared_layers_calibrate:
        return
    shared = [".".join(path) for path, q in plan.quantizers.items() if q.visits > 1]
    if shared:
        raise StateError(
            f"has been calibrated: {', '.join(shared)} is reached twice in one pass (a shared module); "
            f"compat: chip joins the statistics instead"
        )
