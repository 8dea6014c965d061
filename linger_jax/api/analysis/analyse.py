"""What quantization does to each layer and operator of a model, on data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import flax.core
import jax
import numpy as np

from linger_jax.api.analysis.analysis import Analysis
from linger_jax.api.analysis.findings import ranked
from linger_jax.api.analysis.measuring import OUTPUT, Measured, measuring
from linger_jax.api.analysis.metric import Metrics, UserMetric
from linger_jax.api.analysis.node_analysis import Error, NodeAnalysis, error_of, node_analyses
from linger_jax.api.analysis.tally import ACCUMULATED, RESULT, Tallies, added, first
from linger_jax.api.batches import arguments_of_batch
from linger_jax.api.calibration_context import is_calibrating, uncalibrated_key
from linger_jax.api.call_checks import refuse_empty
from linger_jax.api.quant_collection import float_collections, gather
from linger_jax.api.quantized_model import QuantizedModel
from linger_jax.compat import on_host
from linger_jax.errors import LingerError, StateError
from linger_jax.plan import Plan
from linger_jax.quantizers import SCALE, QuantizerKind, saw_data
from linger_jax.staging import split_call


def analyse(
    qmodel: QuantizedModel,
    variables: Mapping[str, Any],
    batches: Iterable[Any],
    *,
    metric: UserMetric | None = None,
    rngs: Any = None,
    method: Any = None,
    **kwargs: Any,
) -> Analysis:
    """Compares a calibrated model with the float model of the same parameters, node by node.

    Each layer and operator is measured twice: accumulated from the input (the quantized run against the float run), and
    alone (its float inputs, its own quantization). All of it is one pass over the data, compiled once for each shape of
    a batch; what is kept are sums, whatever the number of batches. The numbers are exact up to the order of float32
    sums, but for errors by exponent, which are those of a regular sample of up to 4096 values of each tensor and batch.

    Args:
      qmodel: the quantized model.
      variables: its variables, calibrated or trained; they are not changed.
      batches: as in ``calibrate``.
      metric: of the model's output and the batch as it was given, a number. It is reported for both runs, its mean
        weighted by the lengths of the batches.
      rngs, method, **kwargs: passed to every call, for example ``train=False``.

    Returns:
      The analysis, worst first.

    Raises:
      LingerError: no batch, an empty batch, something that is no iterable of batches, NaN in the data or in what the
        float run computes of it, a metric that returns no number, or a model that is not a quantized one.
      StateError: quantizers that never saw data, or whose state is missing.
    """
    if not qmodel.active or qmodel.settings.purpose != "quantize":
        raise LingerError("analyse: this model has no quantizers (it is constrained, or open_quant is false)")
    if is_calibrating():
        raise LingerError("analyse: it evaluates; call it outside linger_jax.calibration")
    if isinstance(batches, (Mapping, str)) or hasattr(batches, "shape"):
        raise LingerError(
            f"analyse: batches is a {type(batches).__name__}; it takes an iterable of batches, for one batch [batch]"
        )
    variables = flax.core.unfreeze(dict(variables))
    leaves = jax.tree.leaves(float_collections(variables))
    total: Tallies | None = None
    plan: Plan | None = None
    number, metrics = 0, Metrics(metric)
    for number, batch in enumerate(batches, start=1):
        args, named = arguments_of_batch(batch)
        named = {**kwargs, **named}
        refuse_empty(args, named)
        planned = qmodel.plan_of_call(variables, args, named, rngs, method, mutable=False)
        if plan is None:
            _refuse_unseen(planned, variables)
        elif planned.rows() != plan.rows():
            raise LingerError(f"analyse: for batch {number} the model runs other layers than for batch 1")
        plan = planned
        _, arrays = split_call(args, named, rngs, method, False)
        run = qmodel._plan_cache.compiled(plan, metric is not None, measuring)
        with uncalibrated_key():
            measured: Measured = run(gather(plan, variables), leaves, arrays, np.float32(number))
            total = first(measured.tallies) if total is None else added(total, measured.tallies)
        metrics.take(measured.outputs, batch, arrays)
    if total is None or plan is None:
        raise LingerError("analyse: there was no batch")
    counted: Tallies = jax.device_get(total)
    _refuse_nan(plan, counted)
    rows = plan.rows()
    found: list[NodeAnalysis] = []
    for row in sorted(counted.keys() - {OUTPUT}):
        found += node_analyses(rows[row], row, counted[row], plan.quantizers)
    missing = tuple(f"{row.name} ({row.op})" for i, row in enumerate(rows) if i not in counted)
    if not found:
        raise LingerError(f"analyse: no layer of the model has values: {', '.join(missing)}")
    return Analysis(ranked(found), _output(counted), number, metrics.mean(), missing)


def _output(counted: Tallies) -> Error | None:
    if OUTPUT not in counted:
        return None
    tally = counted[OUTPUT][RESULT]
    sums = {name: np.asarray(value, np.float64).sum(0) for name, value in tally.sums.items()}
    return error_of(sums, tally.largest, ACCUMULATED)


def _refuse_unseen(plan: Plan, variables: Mapping[str, Any]) -> None:
    """Refuses quantizers without a scale: everything behind them would be noise.

    Raises:
      StateError: names them.
    """
    unseen = []
    for path, entries in gather(plan, variables).items():
        quantizer = plan.quantizers[path]
        has_own = quantizer.active and quantizer.fixed_scale is None and quantizer.spec.kind is not QuantizerKind.bias
        if has_own and not (on_host(saw_data(entries)) | (on_host(entries[SCALE]) != 1)).all():
            unseen.append(".".join(path))
    if unseen:
        raise StateError(f"analyse: quantizers that never saw data: {', '.join(unseen)}. Calibrate or train first")


def _refuse_nan(plan: Plan, counted: Tallies) -> None:
    """Refuses data of which the float run computes NaN: nothing can be compared with it.

    Raises:
      LingerError: names the first batch and node.
    """
    rows = plan.rows()
    for row in sorted(counted, key=lambda row: (row == OUTPUT, row)):
        number = -float(np.max(counted[row][RESULT].largest[f"{ACCUMULATED}.real_nan_in"]))
        if math.isfinite(number):
            where = "the output" if row == OUTPUT else f"{rows[row].name} ({rows[row].op})"
            raise LingerError(
                f"analyse: in batch {number:.0f} the float run gives NaN at {where}; look for NaN in the data or the "
                "parameters, and leave such samples out"
            )
