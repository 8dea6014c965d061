"""What a model's variables say about its layers: weights made coarser for a bias, biases and values that are cut.

Source: docs/decisions.md D26 and D27.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linger_jax.api.quant_collection import QUANT, get_in, threshold_path
from linger_jax.api.remarks.clamp_remarks import clamp_remarks, layer_of
from linger_jax.compat import is_tracer, on_host
from linger_jax.errors import LingerWarning
from linger_jax.plan import Plan, Quantizer
from linger_jax.quantizers import (
    IS_CALIBRATED,
    IS_INIT,
    RUNNING_DATA,
    SCALE,
    THRESHOLD,
    QuantizerKind,
    QuantizerSpec,
    rescale,
)
from linger_jax.typing import Path


def scale_remarks(plan: Plan, variables: Mapping[str, Any]) -> dict[str, str]:
    """Remarks for the plan's rows, by layer; none for shapes and for arrays that are being traced.

    Args:
      plan: of a call.
      variables: all collections.
    """
    remarks: dict[str, list[str]] = {}
    for path, stored, own in _coarser_weights(plan, variables):
        remarks.setdefault(layer_of(path), []).append(
            f"{path[-1]} {stored:g} instead of {own:g}: its bias needs the room"
        )
    for path, largest, limit in _cut_biases(plan, variables):
        remarks.setdefault(layer_of(path), []).append(f"bias of {largest:g} is cut to {limit:g}")
    for layer, text in clamp_remarks(plan, variables):
        remarks.setdefault(layer, []).append(text)
    return {layer: "; ".join(texts) for layer, texts in remarks.items()}


def warn_of_cut_biases(plan: Plan, variables: Mapping[str, Any], what_follows: str, stacklevel: int) -> None:
    """Warns of biases that do not fit their width at the scales that are stored.

    Args:
      plan: of a call.
      variables: all collections.
      what_follows: from that; the end of the message.
      stacklevel: as in ``warnings.warn``.
    """
    cut = [f"{'.'.join(path)}: {largest:g}, at most {limit:g}" for path, largest, limit in _cut_biases(plan, variables)]
    if cut:
        warnings.warn(
            f"biases do not fit their width at the scale of their layer's products: {'; '.join(cut)}. {what_follows}",
            LingerWarning,
            stacklevel=stacklevel + 1,
        )


def _coarser_weights(plan: Plan, variables: Mapping[str, Any]) -> Iterator[tuple[Path, float, float]]:
    """Weights whose stored scale is smaller than the one that their statistic asks for, and both scales."""
    if not plan.settings.semantics.weights_leave_room:
        return
    for path, quantizer in _active(plan, QuantizerKind.weight):
        stored, seen = _known(variables, path, SCALE), _seen(variables, path)
        if stored is None or seen is None:
            continue
        own = np.reshape([_own_scale(quantizer.spec, value) for value in seen.reshape(-1)], stored.shape)
        coarser = stored < own
        if coarser.any():
            yield path, float(stored[coarser].min()), float(own[coarser].max())


def _active(plan: Plan, kind: QuantizerKind) -> Iterator[tuple[Path, Quantizer]]:
    return ((path, q) for path, q in plan.quantizers.items() if q.spec.kind is kind and q.active)


def _own_scale(spec: QuantizerSpec, statistic: np.float32) -> float:
    entries = {RUNNING_DATA: jnp.float32(statistic), THRESHOLD: jnp.full(1, statistic, jnp.float32)}
    known = {IS_INIT: jnp.asarray(True), IS_CALIBRATED: jnp.asarray(True), SCALE: jnp.float32(1)}
    return float(rescale(spec, {**entries, **known})[SCALE])


def _seen(variables: Mapping[str, Any], path: Path) -> np.ndarray | None:
    """A quantizer's statistic or threshold, if it has seen data."""
    for flag, statistic in ((IS_INIT, RUNNING_DATA), (IS_CALIBRATED, THRESHOLD)):
        seen = _known(variables, path, flag)
        if seen is not None:
            return _known(variables, path, statistic) if seen.all() else None
    return None


def _cut_biases(plan: Plan, variables: Mapping[str, Any]) -> Iterator[tuple[Path, float, float]]:
    """Biases beyond their width: the largest magnitude, and what it becomes."""
    for path, quantizer in _active(plan, QuantizerKind.bias):
        scale, largest = _known(variables, path, SCALE), _largest(variables, quantizer)
        if scale is None or largest is None:
            continue
        limit = 2.0 ** (quantizer.spec.bits - 1) / float(scale.min())
        if largest >= limit:
            yield path, largest, limit


def _largest(variables: Mapping[str, Any], quantizer: Quantizer) -> float | None:
    arrays = [get_in(variables, path) for path in quantizer.parameters]
    known = [np.abs(on_host(a)).max(initial=0) for a in arrays if _is_known(a)]
    return float(max(known)) if known and len(known) == len(arrays) else None


def _known(variables: Mapping[str, Any], path: Path, name: str) -> np.ndarray | None:
    if name == THRESHOLD:
        params = variables.get("params", {})
        value = get_in(params, (*threshold_path(params, path), name))
    else:
        value = get_in(variables.get(QUANT, {}), (*path, name))
    return on_host(value) if _is_known(value) else None


def _is_known(value: Any) -> bool:
    return isinstance(value, (jax.Array, np.ndarray)) and not is_tracer(value)
