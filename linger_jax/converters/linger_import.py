"""``load_linger_checkpoint``: a checkpoint of quantization-aware training with linger 3.0.9, weights and quantizers."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from linger_jax.api import (
    QUANT,
    QuantizedModel,
    copied,
    fold_variables,
    get_in,
    initial,
    set_in,
    threshold_path,
    warn_of_cut_biases,
)
from linger_jax.converters.files import COUNTER, LingerState, is_quantizer_key, read_state, split_state
from linger_jax.converters.match import GivenNames, How, MatchMode, PlacePair, match_places, read_names
from linger_jax.converters.model import ModelCall, QuantizerPlace, entering_places, quantizer_places
from linger_jax.converters.report import ImportProblems, ImportReport, ImportRow
from linger_jax.converters.torch_import import FoundWeights, find_weights, model_call
from linger_jax.converters.weights import FlattenOrder
from linger_jax.errors import ConversionError
from linger_jax.kinds import TABLE
from linger_jax.plan import Plan
from linger_jax.quantizers import THRESHOLD, entry_problem, initial_state
from linger_jax.staging import variable_paths
from linger_jax.typing import Path, Tree


def load_linger_checkpoint(
    source: str | os.PathLike[str] | Mapping[str, Any] | Any,
    qmodel: QuantizedModel,
    variables: Mapping[str, Any] | None,
    x: Any,
    *,
    mapping: GivenNames = None,
    match: MatchMode = "auto",
    flatten_order: Mapping[str, FlattenOrder] | None = None,
    strict: bool = True,
    dry_run: bool = False,
    rngs: Any = None,
    method: Callable[..., Any] | str | None = None,
    **kwargs: Any,
) -> tuple[Tree, ImportReport]:
    """Imports a checkpoint of quantization-aware training with linger.

    Weights go where ``from_torch`` puts them, scales, statistics and flags into ``quant``, thresholds
    (``learning_data``) into ``params``. Under ``compat: reference`` evaluation then gives linger's bits. Bit widths,
    clamps, platform and rounding are not in a checkpoint; they come from the configuration of ``qmodel``.

    A checkpoint without any quantizer entry is a float one: its weights are taken, the quantizers keep their state, as
    in linger (docs/specification/config.md section 3).

    Args:
      source: as in ``from_torch``.
      qmodel: from ``linger_jax.init``, with the configuration that the checkpoint was trained with.
      variables: present values, kept where the checkpoint has none; None for fresh ones.
      x: example input; a tuple holds several positional arguments. Only shapes and dtypes matter.
      mapping: as in ``from_torch``; also names operators and average pools
        (``{"_linger_qtensor_qadd_0": "block._linger_qtensor_qadd_0", "pool": "_linger_avg_pool_0"}``).
      match, flatten_order: as in ``from_torch``, for the weights.
      strict: a quantizer of the plan without its entries, or entries that no quantizer takes, are errors.
      dry_run: only match and report; the variables returned are empty, and no value is read.
      rngs, method, **kwargs: of the model's call.

    Returns:
      ``(variables, report)``: every collection, and what became of each tensor. BatchNorm's counters of batches are
      kept in ``quant``, so that ``to_torch`` can write them.

    Raises:
      ConversionError: the checkpoint cannot be read or does not fit; everything is told in one error.
    """
    if not isinstance(qmodel, QuantizedModel) or qmodel.settings.purpose != "quantize":
        raise ConversionError("expected the quantized model that linger_jax.init returns")
    call = model_call(qmodel.model, x, rngs, method, kwargs)
    state = split_state(read_state(source, counters=True, values=not dry_run))
    folds = bool(qmodel.settings.folded_pairs) and _holds_norms(state, call)
    if qmodel.settings.folded_pairs and not folds:
        call = dataclasses.replace(call, fused=qmodel.settings)
    problems = ImportProblems(state.source.name, type(qmodel.model).__name__, quantized=True)
    names = read_names(mapping, state.source.tensors)
    of_weights = {torch_name: path for torch_name, path in names.items() if not _names_quantizers(torch_name, state)}
    found = find_weights(state.weights, call, problems, of_weights, match, flatten_order or {}, strict=strict)
    plan = qmodel.plan(found.shapes, *call.args, rngs=call.rngs, method=method, verdict=False, **kwargs)
    places = quantizer_places(plan)
    layers = _layers(found)
    entering = entering_places(plan)
    pairs = match_places(state, places, layers, names, problems, entering) if state.quantizers else []
    steps = _steps(state, pairs, problems)
    if strict and state.quantizers:
        _tell(problems, state, plan, places, steps)
    problems.raise_if_any()
    counters, dropped = _counters(state, layers)
    if dry_run:
        seen = [_row(step, state) for step in (*steps, *counters)]
        return {}, _joined(found.foreseen(), state, seen, dropped, plan, steps)

    own = None if variables is None else {name: values for name, values in variables.items() if name != QUANT}
    floats, report = found.fill(own, problems)
    floats = fold_variables(qmodel.settings, floats) if folds else floats
    quant, params, rows = _fill(state, plan, steps, variables or {}, floats, problems)
    for counter in counters:
        count, _ = state.source.array(counter.key)
        set_in(quant, counter.path, jnp.asarray(np.clip(count.reshape(()), 0, 2**31 - 1), jnp.int32))
    problems.raise_if_any()
    report = _joined(report, state, [*rows, *(_row(step, state) for step in counters)], dropped, plan, steps)
    loaded = {**floats, "params": params, QUANT: quant}
    if qmodel.settings.semantics.weights_leave_room:
        warn_of_cut_biases(plan, loaded, _COARSER, stacklevel=2)
    return loaded, report


_COARSER = (
    "linger adds them in float32, which no chip does; evaluation, integers and files take coarser weights in these "
    "layers, down to a scale of 1. Train on, or calibrate anew, to adapt to that"
)


@dataclasses.dataclass(frozen=True)
class _Step:
    """One tensor on its way to one entry of a quantizer."""

    key: str
    path: Path
    shape: tuple[int, ...]
    iteration: int | None
    how: How

    @property
    def dotted(self) -> str:
        collection = "params" if self.path[-1] == THRESHOLD else QUANT
        suffix = "" if self.iteration is None else f"[{self.iteration}]"
        return ".".join((collection, *self.path)) + suffix


def _holds_norms(state: LingerState, call: ModelCall) -> bool:
    """Whether a checkpoint has every normalization of the model still beside, or inside, its convolution."""
    statistics = sum(key.rpartition(".")[2] == "running_mean" for key in state.weights.tensors)
    shapes = call.shapes().get("batch_stats", {})
    wanted = sum(path[-1] == "mean" for path in variable_paths(shapes))
    return 0 < wanted <= statistics


def _names_quantizers(name: str, state: LingerState) -> bool:
    """Whether a name of the mapping is of an operator or of an entry of a quantizer: nothing with weights."""
    if is_quantizer_key(name) or name in state.counters.values():
        return True
    return name in state.quantizers and not any(key.startswith(f"{name}.") for key in state.weights.tensors)


def _layers(found: FoundWeights) -> dict[str, tuple[str, int | None, How]]:
    """Where the weights of each module went: dotted path of the layer, iteration, way of matching."""
    layers: dict[str, tuple[str, int | None, How]] = {}
    for step in found.planned:
        path = ".".join(step.path[1:-1] if step.layer is None else step.layer)
        layers.setdefault(step.key.rpartition(".")[0], (path, step.iteration, step.how))
    return layers


def _steps(state: LingerState, pairs: Sequence[PlacePair], problems: ImportProblems) -> list[_Step]:
    steps = []
    for pair in pairs:
        for name, quantizer in pair.place.quantizers.items():
            entries = state.quantizers[pair.module].get(name, {})
            for entry, fresh in initial_state(quantizer.spec).items():
                if entry not in entries:
                    continue
                key, shape = entries[entry], tuple(fresh.shape)
                step = _Step(key, (*quantizer.path, entry), shape, pair.iteration, pair.how)
                if state.source.shape(key) not in (shape, ()):
                    problems.add_conflict(key, state.source.shape(key), step.dotted, shape, shape)
                steps.append(step)
    return steps


def _tell(
    problems: ImportProblems,
    state: LingerState,
    plan: Plan,
    places: Sequence[QuantizerPlace],
    steps: Sequence[_Step],
) -> None:
    """Entries that nothing gives and entries that nothing takes."""
    given = {step.path for step in steps}
    iterations: dict[Path, int] = {}
    for step in steps:
        iterations[step.path] = iterations.get(step.path, 0) + 1
    for place in places:
        for quantizer in place.quantizers.values():
            for entry, fresh in initial_state(quantizer.spec).items():
                path = (*quantizer.path, entry)
                wanted = quantizer.stack[0] if quantizer.stack else 1
                if path not in given or iterations[path] != wanted:
                    why = _OWN_OPERATOR if _is_table(path) else _other_method(state, entry)
                    problems.missing.append((".".join((QUANT, *path)), tuple(fresh.shape), why))
    taken = {step.key for step in steps}
    reasons = {row.name: row.reason for row in plan.rows() if row.status in ("float", "disabled")}
    for module, quantizers in state.quantizers.items():
        left = [key for entries in quantizers.values() for key in entries.values() if key not in taken]
        problems.unexpected += [(key, state.source.shape(key)) for key in left]
        if any("_reverse_quantizer." in key for key in left):
            problems.add_text(
                f"{module} is a bidirectional layer, whose directions share quantizers: write it as nn.Bidirectional "
                f"of two nn.RNN, not as two layers"
            )
        if left and module in reasons:
            problems.add_text(f"{module} runs as float and takes no quantizer state: {reasons[module]}")


_OWN_OPERATOR = (
    f"linger has no tables; disable_ops={TABLE.name!r} leaves such functions float, as linger does, and strict=False "
    "keeps fresh scales, to be calibrated"
)


def _is_table(path: Path) -> bool:
    return any(name.startswith(TABLE.stem) for name in path)


_METHODS = {"running_data": "MOM", "is_init": "MOM", "learning_data": "TQT", "is_calibrate": "TQT"}


def _other_method(state: LingerState, entry: str) -> str:
    found = {_METHODS[e] for qs in state.quantizers.values() for es in qs.values() for e in es if e in _METHODS}
    wanted = _METHODS.get(entry)
    if wanted is None or not found or wanted in found:
        return ""
    return f"the checkpoint was trained with qat_method {min(found)}, the configuration says {wanted}"


def _fill(
    state: LingerState,
    plan: Plan,
    steps: Sequence[_Step],
    variables: Mapping[str, Any],
    floats: Mapping[str, Any],
    problems: ImportProblems,
) -> tuple[Tree, Tree, list[ImportRow]]:
    """New ``quant`` and ``params``: the present state, or a fresh one, with the entries of the checkpoint."""
    quant: Tree = {}
    params = copied(floats.get("params", {}))

    def place(path: Path) -> tuple[str, Tree, Path]:
        """Collection, its new contents, and the path of an entry in it."""
        if path[-1] != THRESHOLD:
            return QUANT, quant, path
        return "params", params, (*threshold_path(params, path[:-1]), THRESHOLD)

    for path, entries in initial(plan).items():
        for name, fresh in entries.items():
            collection, tree, where = place((*path, name))
            present = get_in(variables.get(collection, {}), where)
            set_in(tree, where, fresh if present is None else present)
    rows = []
    for step in steps:
        try:
            array, _ = state.source.array(step.key)
        except ConversionError as error:
            problems.add_text(str(error))
            continue
        problem = entry_problem(step.path[-1], array)
        if problem is not None:
            problems.add_text(f"{step.key} {problem}")
            continue
        _, tree, where = place(step.path)
        present = get_in(tree, where)
        value = jnp.asarray(array.reshape(step.shape), present.dtype)
        set_in(tree, where, value if step.iteration is None else present.at[step.iteration].set(value))
        rows.append(_row(step, state))
    return quant, params, rows


def _row(step: _Step, state: LingerState) -> ImportRow:
    shape, dtype = state.source.shape(step.key), state.source.other_float(step.key)
    return ImportRow(step.key, step.dotted, shape, step.shape, "as is", step.how, dtype)


def _counters(
    state: LingerState, layers: Mapping[str, tuple[str, int | None, How]]
) -> tuple[list[_Step], list[tuple[str, str]]]:
    """Where BatchNorm's counters are kept: beside the quantizers of their layers; the rest has no place."""
    steps, dropped = [], []
    for module, key in state.counters.items():
        path, iteration, how = layers.get(module, ("", None, "name"))
        if path and iteration is None and math.prod(state.source.shape(key)) == 1:
            steps.append(_Step(key, (*path.split("."), COUNTER), (), None, how))
        else:
            dropped.append((key, "counter of training batches"))
    return steps, dropped


def _joined(
    report: ImportReport,
    state: LingerState,
    rows: Sequence[ImportRow],
    dropped: Sequence[tuple[str, str]],
    plan: Plan,
    steps: Sequence[_Step],
) -> ImportReport:
    """The report of the weights with that of the quantizers."""
    taken = {step.key for step in steps}
    entries = [
        key for quantizers in state.quantizers.values() for names in quantizers.values() for key in names.values()
    ]
    given = {step.path for step in steps}
    kept = [
        ".".join((QUANT, *quantizer.path, entry))
        for quantizer in plan.quantizers.values()
        for entry in initial_state(quantizer.spec)
        if (*quantizer.path, entry) not in given
    ]
    places = {key: i for i, key in enumerate(state.source.tensors)}
    return dataclasses.replace(
        report,
        rows=tuple(sorted((*report.rows, *rows), key=lambda row: places[row.key])),
        dropped=(*report.dropped, *dropped),
        unexpected=(*report.unexpected, *(key for key in entries if key not in taken)),
        missing=(*report.missing, *kept),
    )
