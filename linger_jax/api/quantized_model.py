"""A quantized (or constrained) model with the calling conventions of a Linen module."""

from __future__ import annotations

import dataclasses
import functools
import os
import threading
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import flax.core
import flax.linen as nn
import jax

from linger_jax.api import findings
from linger_jax.api.calibration_context import forget_trace, is_calibrating, uncalibrated_key
from linger_jax.api.call_checks import Arithmetic, KnownRanks, asks_for_integers, refuse_empty, refuse_nothing_to_do
from linger_jax.api.device import refuse_for_device, verdict_on
from linger_jax.api.folding import fold_variables
from linger_jax.api.initialising import float_variables
from linger_jax.api.plan_cache import PlanCache
from linger_jax.api.quant_collection import QUANT, float_collections, nothing_seen_of
from linger_jax.api.reconfiguring import changed_config, taken_over
from linger_jax.api.remarks import scale_remarks, with_cuts_told
from linger_jax.api.running import Run, initial_variables, recorded, run_float, run_model
from linger_jax.compat import is_tracer
from linger_jax.compat.linen import in_collections, without_collections
from linger_jax.config import QuantConfig
from linger_jax.errors import LingerError, LingerWarning
from linger_jax.export.lower import Record
from linger_jax.interpret import State, plain
from linger_jax.plan import Plan, PlanSettings
from linger_jax.quantizers import QTensor
from linger_jax.staging import narrowed, split_call
from linger_jax.typing import Tree, Variables


class QuantizedModel:
    """An unmodified Flax model, interpreted with quantizers; made by ``linger_jax.init``.

    ``init``, ``adopt``, ``plan`` and ``apply`` take the model's own positional and keyword arguments, ``rngs`` and
    ``method``. An input is quantized by its value, whatever its real type. All state is in the variables; an instance
    only remembers plans, compiled functions and the ranks it was initialised with, so one instance may serve several
    threads, and a pickled or copied one is as good as new.

    Attributes:
      model: the float model.
      settings: the configuration and what stays float.
    """

    def __init__(self, model: nn.Module, settings: PlanSettings) -> None:
        self.model = model
        self.settings = settings
        self._plan_cache = PlanCache(model, settings)
        self._compiled: dict[Run, Callable[..., Any]] = {}
        self._ranks = KnownRanks()
        self._warned_of_unseen = False
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({type(self.model).__name__}, {self.settings.purpose}, active={self.active})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.model, self.settings)

    @property
    def active(self) -> bool:
        """False where ``open_quant: false`` makes this exactly the float model."""
        return self.settings.config.open_quant

    # --- making variables ---

    def init(self, rngs: Any = None, *args: Any, method: Any = None, **kwargs: Any) -> Tree:
        """Initialises the float model and fresh quantizer state.

        Args:
          rngs: a key or a mapping of keys as in ``nn.Module.init``; without it, the configuration's ``seed``.
          *args, **kwargs: the model's own arguments.
          method: the model's method, as in ``nn.Module.init``.

        Returns:
          The float collections and ``quant``; under TQT also ``learning_data`` inside ``params``.

        Raises:
          LingerError: as ``adopt``.
        """
        if rngs is None:
            rngs = jax.random.key(self.settings.config.seed)
        values, named = jax.tree.map(lambda leaf: narrowed(plain(leaf)), (args, kwargs), is_leaf=_is_qtensor)
        variables = float_variables(self.model, rngs, values, named, method)
        return self.adopt(variables, *args, rngs=rngs, method=method, **kwargs)

    def adopt(self, variables: Variables, *args: Any, rngs: Any = None, method: Any = None, **kwargs: Any) -> Tree:
        """Pretrained float variables plus fresh quantizer state.

        Weights come back with the one-time clamp of the first MOM step already applied, because ``apply`` never writes
        parameters. A normalization that is fused with the convolution before it (``trace_layers``) comes back folded
        into kernel and bias.

        Args:
          variables: the float model's collections; quantizer state among them is left out.
          *args, **kwargs, rngs, method: as in ``nn.Module.apply``.

        Returns:
          All collections, as plain dicts.

        Raises:
          PlanError: the model has no layer to quantize, or, with ``strict``, something stays float; with
            ``strict="device"`` the chip would refuse something.
          PlatformLimitError: a layer outside the platform's limits.
          LingerError: an argument without elements, or complex numbers that reach a layer.

        Warns:
          LingerWarning: a function runs as float because the platform has no kernel for it; a constant is clipped by
            its own quantizer; a LayerNorm's epsilon is not the chip's; a clamp cuts more than 0.1 % of the weights.
        """
        variables = float_collections(variables)
        if self.active:
            asked = self.settings.strict == "device"
            plan = self.plan(variables, *args, rngs=rngs, method=method, verdict=asked, **kwargs)
            refuse_nothing_to_do(self.model, plan)
            for text in plan.warnings:
                warnings.warn(text, LingerWarning, stacklevel=2)
            variables = fold_variables(self.settings, variables)
            if self.settings.purpose == "quantize":
                variables = with_cuts_told(plan, variables, initial_variables(plan, variables), stacklevel=2)
        self._ranks.remember(method, args, kwargs)
        return variables

    def plan(
        self,
        variables: Variables,
        *args: Any,
        rngs: Any = None,
        method: Any = None,
        verdict: bool = True,
        **kwargs: Any,
    ) -> Plan:
        """The coverage of one call: every layer and operator, quantized or why not, and what the chip makes of it.

        Args:
          variables: all collections or the float model's; arrays may be ``jax.ShapeDtypeStruct``. Where scales are
            among them, rows say which weights are coarser than their own statistic asks for, and why.
          *args, **kwargs, rngs, method: as in ``nn.Module.apply``; arrays may be shapes likewise.
          verdict: whether the column ``device`` is filled in, for the first sample of the call and at the scales of the
            variables (docs/decisions.md D33). A model's own argument of this name is passed by position.

        Raises:
          LingerError: as ``adopt``, a model without layers excepted.
        """
        floats = fold_variables(self.settings, float_collections(variables))
        refuse_empty(args, kwargs)
        mutable = tuple(c for c in floats if c != "params")
        call, arrays = split_call(args, kwargs, rngs, method, mutable)
        plan = self._plan_cache.plan(floats, call, arrays)
        remarks = scale_remarks(plan, variables) if QUANT in variables else {}
        if verdict:
            options = {"rngs": rngs, "method": method, "mutable": mutable}
            found = verdict_on(self._plan_cache, plan, variables, floats, args, kwargs, **options)
            plan = dataclasses.replace(plan, device=found)
            if self.settings.strict == "device":
                refuse_for_device(plan)
        return dataclasses.replace(plan, remarks=remarks) if remarks else plan

    def record(self, variables: Variables, *args: Any, rngs: Any = None, method: Any = None, **kwargs: Any) -> Record:
        """One evaluation with everything an exporter needs: the plan, every scale, the integers of every parameter.

        Args:
          variables: all collections.
          *args, **kwargs, rngs, method: as in ``nn.Module.apply``.

        Raises:
          LingerError: the model is not quantized (``open_quant: false``, or a constrained model), or as ``apply``.
        """
        if not self.active or self.settings.purpose != "quantize":
            raise LingerError("only a quantized model has integers to record; this one runs as float")
        self._ranks.check(method, args, kwargs)
        refuse_empty(args, kwargs)
        call, arrays = split_call(args, kwargs, rngs, method, ())
        return recorded(self._plan_cache, dict(flax.core.unfreeze(dict(variables))), call, arrays)

    # --- another configuration ---

    def replace_config(self, changes: Mapping[str, Any] | QuantConfig | str | os.PathLike[str]) -> QuantizedModel:
        """This model with other bits, clamps or parts; ``take_over`` then brings its variables along.

        Args:
          changes: keys of the configuration that change, a section's key by key and parts as a whole
            (``{"quant_info": {"weight_bits": 4}}``); a YAML file of such keys; or a complete configuration.

        Raises:
          LingerError: a change that makes another model of it (``compat``, ``custom_layers``, ``open_quant``, ...).
          ConfigError: an unknown key, or a value that is not allowed.
        """
        config = changed_config(self.settings.config, changes)
        return type(self)(self.model, dataclasses.replace(self.settings, config=config))

    def take_over(
        self,
        other: QuantizedModel,
        variables: Variables,
        *args: Any,
        rngs: Any = None,
        method: Any = None,
        **kwargs: Any,
    ) -> Tree:
        """Variables of a model that differs in its configuration, for this one.

        Parameters, statistics, thresholds and flags stay; another ``qat_method`` gets its threshold from the statistic
        or the other way round. Scales follow at the new widths, so the result can be evaluated at once, better after
        calibration or some training steps. A weight whose clamp was changed is clamped anew.

        Args:
          other: the model that ``variables`` belong to.
          variables: its collections.
          *args, **kwargs, rngs, method: a call of the model, as in ``nn.Module.apply``; only shapes count.

        Warns:
          LingerWarning: quantizers that the other model had no state for; they start afresh.

        Raises:
          LingerError: the models are not of the same module, or one of them is not a quantized one.
        """
        if other.model != self.model or other.settings.fusion != self.settings.fusion:
            raise LingerError(
                f"take_over: the variables are those of {other!r}, this is {self!r}; only the configuration may differ"
            )
        if not (self.active and other.active) or {self.settings.purpose, other.settings.purpose} != {"quantize"}:
            raise LingerError("take_over: both models have to be quantized; others have no state of their own")
        options: dict[str, Any] = {"rngs": rngs, "method": method, "verdict": False}
        plan, before = (m.plan(variables, *args, **options, **kwargs) for m in (self, other))
        _, arrays = split_call(args, kwargs, rngs, method, ())
        result = taken_over(plan, before, flax.core.unfreeze(dict(variables)), arrays)
        self._ranks.remember(method, args, kwargs)
        return with_cuts_told(plan, variables, result, stacklevel=2)

    # --- running ---

    def apply(
        self,
        variables: Variables,
        *args: Any,
        rngs: Any = None,
        method: Any = None,
        mutable: Any = False,
        mode: Arithmetic = "fake_quant",
        **kwargs: Any,
    ) -> Any:
        """Runs the model. Statistics move if and only if ``quant`` is mutable.

        Outside ``jit`` the run is compiled and kept. Inside the user's own ``jit`` nothing can be read back: unseen
        quantizers do not warn, and calibration data is not refused for NaN or a second calibration.

        Args:
          variables: all collections, ``quant`` included.
          *args, **kwargs, rngs, method: as in ``nn.Module.apply``.
          mutable: collections to return updated, as in ``nn.Module.apply``. Under ``linger_jax.calibration`` the
            update always holds ``quant`` and ``params``, since calibration writes both (thresholds, clamped weights).
          mode: ``fake_quant`` computes in float32 on quantized values; ``integer`` evaluates with the chip's integers,
            exact where float32 sums are not (docs/integer_evaluation.md). A model's own argument of this name is passed
            by position.

        Returns:
          The model's output, or ``(output, updates)`` when ``mutable`` is given or calibration is on.

        Raises:
          StateError: quantizer state is missing, of another shape, or calibrated already.
          CalibrationError: NaN or infinity in calibration data.
          LingerError: an argument without elements or of another rank than those the model was initialised with; an
            integer evaluation that would train, calibrate, or has no integers.
        """
        output, updates, _ = self._run(variables, args, kwargs, rngs, method, mutable, mode, keep_qtensors=False)
        return output if updates is None else (output, updates)

    def apply_qtensor(
        self,
        variables: Variables,
        *args: Any,
        rngs: Any = None,
        method: Any = None,
        mutable: Any = False,
        mode: Arithmetic = "fake_quant",
        **kwargs: Any,
    ) -> Any:
        """Like ``apply``; outputs that lie on an integer grid come as ``QTensor``."""
        output, updates, _ = self._run(variables, args, kwargs, rngs, method, mutable, mode, keep_qtensors=True)
        return output if updates is None else (output, updates)

    def calibration_pass(
        self,
        variables: Variables,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        rngs: Any,
        method: Any,
        seen: State,
    ) -> tuple[Tree, State]:
        """One batch of ``linger_jax.calibrate``.

        Args:
          variables, args, kwargs, rngs, method: as in ``apply``.
          seen: what the calibration saw before this batch; empty before the first, which refuses quantizers that are
            calibrated already.

        Returns:
          The new ``quant`` and ``params``; and what the calibration saw so far.
        """
        _, updates, seen = self._run(
            variables, args, dict(kwargs), rngs, method, _CALIBRATED, "fake_quant", keep_qtensors=False, seen=seen
        )
        assert updates is not None
        return updates, seen

    def plan_of_call(
        self, variables: Variables, args: Any, kwargs: Mapping[str, Any], rngs: Any, method: Any, mutable: Any
    ) -> Plan:
        """The plan by which such a call of ``apply`` runs; a call that was made has made it."""
        call, arrays = split_call(args, dict(kwargs), rngs, method, _model_mutable(mutable))
        return self._plan_cache.plan(float_collections(variables), call, arrays)

    def _run(
        self,
        variables: Variables,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        rngs: Any,
        method: Any,
        mutable: Any,
        mode: Arithmetic,
        *,
        keep_qtensors: bool,
        seen: State | None = None,
    ) -> tuple[Any, Tree | None, State]:
        """One call: output, updates if there are any, and what a calibration saw so far.

        ``seen`` is that of a calibration pass, and None of a call that asks the context.
        """
        variables = dict(flax.core.unfreeze(dict(variables)))
        self._ranks.check(method, args, kwargs)
        calibrating = seen is not None or is_calibrating()
        returns_updates = mutable is not False or calibrating
        in_integers = asks_for_integers(mode, self.settings, calibrating=calibrating, mutable=mutable)
        if not self.active:
            output, updates = run_float(self.model, variables, args, kwargs, rngs, method, mutable)
            forget_trace(output, updates)
            return output, updates if returns_updates else None, {}
        if calibrating and self.settings.purpose != "quantize":
            raise LingerError("a constrained or float model has no quantizers to calibrate")
        refuse_empty(args, kwargs)
        written = tuple(sorted({c for c in (*variables, QUANT, "params") if in_collections(mutable, c)}))
        call, arrays = split_call(args, kwargs, rngs, method, _model_mutable(mutable))
        run = self._compile(Run(call, written, calibrating, keep_qtensors, in_integers), (variables, arrays))
        before: State = {}
        with uncalibrated_key():
            if calibrating:
                plan = self._plan_cache.plan(float_collections(variables), call, arrays)
                before = {path: (seen or {}).get(path, fresh) for path, fresh in nothing_seen_of(plan).items()}
            output, updates, found, after = run(variables, arrays, before)
        forget_trace(output, updates)
        findings.refuse(found, joins=bool(seen))
        if not self._warned_of_unseen and findings.warn_of_unseen(found):
            self._warned_of_unseen = True
        return output, updates if returns_updates else None, {**(seen or {}), **after}

    def _compile(self, run: Run, arrays: Any) -> Callable[..., Any]:
        """The run as a function of variables and arrays; compiled, unless the user's own jit is tracing."""
        function = functools.partial(run_model, self._plan_cache, run)
        if any(is_tracer(leaf) for leaf in jax.tree.leaves(arrays)):
            return function
        try:
            hash(run)
        except TypeError:
            return function
        with self._lock:
            compiled = self._compiled.pop(run, None) or jax.jit(function)
            self._compiled[run] = compiled
            if len(self._compiled) > KEPT:
                del self._compiled[next(iter(self._compiled))]
            return compiled


KEPT = 64
"""Compiled runs that a model keeps, those that were used last: a run is known by its call, and a call by the functions
and numbers in it, which may be others each time."""
_CALIBRATED = [QUANT, "params"]
"""What a calibration pass writes."""


def _model_mutable(mutable: Any) -> Any:
    """The part of a ``mutable`` filter that concerns the float model: parameters and quantizers are ours to write."""
    kept = without_collections(mutable, [QUANT, "params"])
    return tuple(sorted(kept)) if isinstance(kept, (set, frozenset, list, tuple)) else kept


def _is_qtensor(value: Any) -> bool:
    return isinstance(value, QTensor)
