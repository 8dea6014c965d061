"""What clamps cut: told once where values are clamped, noted beside the quantizers, and shown by the plan.

Source: docs/decisions.md D26.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linger_jax.api.quant_collection import QUANT, copied, get_in, set_in
from linger_jax.compat import is_tracer, on_host
from linger_jax.config import ClampInfo
from linger_jax.errors import LingerWarning
from linger_jax.interpret import State
from linger_jax.plan import Plan, Quantizer
from linger_jax.quantizers import BEYOND, CLAMPED, QuantizerKind, QuantizerSpec
from linger_jax.typing import HostArray, Path

_TOLD = 0.001
"""Share of the values from which it is told."""
_OWN = "a limit of the layer's own"
"""In the place of a key; part of what the layer is, so the plan alone tells it."""
_WHAT = {QuantizerKind.activation: "outputs", QuantizerKind.weight: "weights", QuantizerKind.bias: "biases"}


@dataclasses.dataclass(frozen=True)
class _Cut:
    """Values of one quantizer beyond a bound.

    Attributes:
      path: of the quantizer.
      spec: the quantizer.
      share: of its values.
      largest: magnitude.
      key: of the configuration that sets the bound.
    """

    path: Path
    spec: QuantizerSpec
    share: float
    largest: float
    key: str

    @property
    def layer(self) -> str:
        return layer_of(self.path)

    def __str__(self) -> str:
        return f"{_WHAT[self.spec.kind]} {self.share:.2%} (largest {self.largest:.3g}, {self.key})"


def with_cuts_told(
    plan: Plan, before: Mapping[str, Any], after: Mapping[str, Any], seen: State | None = None, *, stacklevel: int
) -> dict[str, Any]:
    """Warns, once, of layers whose clamps cut more than 0.1 % of their values, and notes it in the variables.

    Where the configuration names no clamps and there are none, calibration warns of the layers that those of linger
    would cut.

    Args:
      plan: of a call.
      before, after: the variables without and with the clamps of parameters.
      seen: what a calibration saw of every quantizer.
      stacklevel: as in ``warnings.warn``.

    Returns:
      ``after``, with a note beside each quantizer that clamps.
    """
    settings = plan.settings
    if not settings.semantics.tells_clamps:
        return dict(after)
    counted = list(_of_outputs(plan, seen or {}))
    cuts = [*_of_parameters(plan, before, after), *(cut for cut in counted if cut.spec.clamps)]
    if told := [cut for cut in cuts if cut.share > _TOLD and cut.key != _OWN]:
        _warn(
            f"clamps cut values: {_lines(told)}. Right for a model that was trained with these clamps; else raise the "
            "key in clamp_info, or switch it off with null",
            stacklevel,
        )
    elif seen and not settings.config.names_clamps:
        counted += _beyond_lingers_factor(plan, before)
        if told := [cut for cut in counted if cut.share > _TOLD]:
            _warn(
                f"no clamp_info is named, so clamps are off. Those of linger would cut {_lines(told)}. Off is right "
                "for a model that was not trained with them; for one that was (linger, linger_jax.constrain), name "
                f"clamp_info: {{clamp_activation_value: {_LINGERS.clamp_activation_value:g}, clamp_factor_value: "
                f"{_LINGERS.clamp_factor_value:g}}}",
                stacklevel,
            )
    return {**after, QUANT: _noted(plan, after[QUANT], cuts)}


def clamp_remarks(plan: Plan, variables: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Remarks for the plan's rows: layer, and what its clamps cut of the data that they were applied to.

    Args:
      plan: of a call.
      variables: all collections.
    """
    for path, quantizer in plan.quantizers.items():
        note = get_in(variables.get(QUANT, {}), (*path, CLAMPED))
        if quantizer.active and quantizer.spec.clamps and _is_known(note):
            share, largest = np.reshape(on_host(note), (-1, 2)).max(axis=0).tolist()
            if share > _TOLD:
                cut = _Cut(path, quantizer.spec, share, largest, _key(plan, path, quantizer.spec))
                yield cut.layer, f"clamped: {cut}"


def layer_of(path: Path) -> str:
    """The name that a plan's row has for the layer of a quantizer."""
    return ".".join(path[:-1]) or "<root>"


_LINGERS = ClampInfo()


def _key(plan: Plan, path: Path, spec: QuantizerSpec) -> str:
    if spec.kind is QuantizerKind.activation:
        return "clamp_activation_value"
    if spec.kind is QuantizerKind.bias:
        return "clamp_bias_value"
    clamp = plan.settings.config.for_path(".".join(path[:-1])).clamp_info
    if spec.clamp_factor is None and spec.clamp_value is not None:
        return "clamp_weight_value"
    return "clamp_factor_value" if spec.clamp_factor == clamp.clamp_factor_value else _OWN


def _of_parameters(plan: Plan, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[_Cut]:
    """Parameters that a clamp has changed."""
    for path, quantizer, arrays in _parameters(plan, before):
        clamped = [get_in(after, p) for p in quantizer.parameters]
        if quantizer.spec.clamps and all(map(_is_known, clamped)):
            changed = sum(np.sum(a != on_host(b)) for a, b in zip(arrays, clamped, strict=True))
            yield _cut(path, quantizer, changed, arrays, _key(plan, path, quantizer.spec))


def _beyond_lingers_factor(plan: Plan, variables: Mapping[str, Any]) -> Iterator[_Cut]:
    for path, quantizer, arrays in _parameters(plan, variables):
        if quantizer.spec.kind is QuantizerKind.weight and not quantizer.spec.clamps:
            sizes = np.concatenate([np.abs(a).ravel() for a in arrays])
            bound = float(_LINGERS.clamp_factor_value or 0) * sizes.mean(dtype=np.float64)
            yield _cut(path, quantizer, np.sum(sizes > bound), arrays, "clamp_factor_value")


def _parameters(plan: Plan, variables: Mapping[str, Any]) -> Iterator[tuple[Path, Quantizer, list[HostArray]]]:
    """Quantizers that read parameters directly, with the values of these."""
    for path, quantizer in plan.quantizers.items():
        read = quantizer.parameters if quantizer.active else ()
        arrays = [get_in(variables, p) for p in read if p[0] == "params"]
        if arrays and len(arrays) == len(read) and all(_is_known(a) for a in arrays):
            yield path, quantizer, [on_host(a) for a in arrays]


def _cut(path: Path, quantizer: Quantizer, count: Any, arrays: list[HostArray], key: str) -> _Cut:
    size = sum(a.size for a in arrays)
    largest = max(float(np.abs(a).max(initial=0)) for a in arrays)
    return _Cut(path, quantizer.spec, float(count) / max(size, 1), largest, key)


def _of_outputs(plan: Plan, seen: State) -> Iterator[_Cut]:
    """What the calibration pass counted: outputs, and weights that are computed."""
    for path, quantizer in plan.quantizers.items():
        counted = seen.get(path, {}).get(BEYOND)
        if quantizer.active and _is_known(counted):
            sums = np.reshape(on_host(counted), (-1, 3, 2)).astype(np.float64)
            beyond, size = sums[:, :2].sum(axis=(0, 2)).tolist()
            if size:
                yield _Cut(
                    path, quantizer.spec, beyond / size, float(sums[:, 2].max()), _key(plan, path, quantizer.spec)
                )


def _noted(plan: Plan, quant: Mapping[str, Any], cuts: list[_Cut]) -> dict[str, Any]:
    """The collection with a note beside each quantizer that clamps; an older one stays where nothing was cut."""
    found = {cut.path: cut for cut in cuts if cut.share}
    new: dict[str, Any] = copied(quant)
    for path, quantizer in plan.quantizers.items():
        if not quantizer.spec.clamps:
            continue
        if path in found:
            note = np.array([found[path].share, found[path].largest], np.float32)
            set_in(new, (*path, CLAMPED), jax.device_put(np.broadcast_to(note, (*quantizer.stack, 2))))
        elif get_in(new, (*path, CLAMPED)) is None:
            set_in(new, (*path, CLAMPED), jnp.asarray(np.zeros((*quantizer.stack, 2), np.float32)))
    return new


def _lines(cuts: list[_Cut]) -> str:
    layers: dict[str, list[str]] = {}
    for cut in cuts:
        layers.setdefault(cut.layer, []).append(str(cut))
    return "; ".join(f"{layer}: {', '.join(texts)}" for layer, texts in layers.items())


def _warn(text: str, stacklevel: int) -> None:
    warnings.warn(text, LingerWarning, stacklevel=stacklevel + 2)


def _is_known(value: Any) -> bool:
    return isinstance(value, (jax.Array, np.ndarray)) and not is_tracer(value)
