"""What an analysis says of one node, from what was counted of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from linger_jax.api.analysis.tally import ACCUMULATED, ALONE, RESULT, Tally
from linger_jax.plan import Quantizer, Row
from linger_jax.quantizers import QuantizerKind
from linger_jax.typing import Path

_INT32_BITS = 31
_ENOUGH_VALUES = 8
"""Values of a channel from which it may be called dead."""
_MANY_VALUES = 64
"""Values of a channel behind a relu, likewise: few samples leave many at zero."""
_NEGLIGIBLE = 2.0**-14
"""A channel that is smaller than this share of the largest one is no loss."""


@dataclasses.dataclass(frozen=True)
class Error:
    """How far one run is from another.

    Attributes:
      sqnr_db: signal to quantization noise, decibels; infinite where there is no error, NaN without signal.
      cosine: of the angle between both, 1 where they agree.
      largest: the largest absolute difference.
    """

    sqnr_db: float
    cosine: float
    largest: float


@dataclasses.dataclass(frozen=True)
class QuantizerAnalysis:
    """One quantizer on the data.

    Attributes:
      name: its dotted path in the ``quant`` collection.
      kind: ``activation``, ``weight`` or ``bias``.
      bits: of its grid.
      exponent: log2 of its scale.
      best_exponent: the exponent with the least squared error (of a sample of the values); the scale of a bias follows
        from others, so it is its own.
      excess_db: error at the exponent above that at the best, decibels.
      sqnr_db: of the sample at the exponent.
      clipped: share of the values that its grid cuts.
      bits_used: that the largest value needs.
      shares_scale: other quantizers take part in the choice of its scale.
    """

    name: str
    kind: str
    bits: int
    exponent: int
    best_exponent: int
    excess_db: float
    sqnr_db: float
    clipped: float
    bits_used: float
    shares_scale: bool


@dataclasses.dataclass(frozen=True)
class Channels:
    """Channels of a layer's result that never leave one value.

    Attributes:
      lost: by quantization; they are alive in float.
      constant: in float already.
      silent: behind the relu that follows, in float already.
    """

    lost: tuple[int, ...] = ()
    constant: tuple[int, ...] = ()
    silent: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class NodeAnalysis:
    """One row of an analysis.

    Attributes:
      name, op, status, source: as in the plan's row.
      order: place in the order of execution.
      iteration: of the loops around it whose iterations have layers of their own.
      accumulated: the quantized run against the float run, up to here.
      alone: this node quantized, fed by the float run.
      quantizers: its own, on the data.
      bits: of its result; None of a float.
      clipped: the largest share that one of its activation quantizers cuts.
      bits_used: of ``bits``, that the largest result needs.
      bias_headroom: bits that its largest bias could grow by; None without a bias.
      accumulator_headroom: bits that its largest sum could grow by in 32 bits; None without a weight.
      channels: dead ones.
      nan: the first batch in which the quantized run gave NaN and the float run did not.
      finding: what is wrong, in a line; empty where nothing is.
      remedy: what to do about it.
      severity: decibels, the order of the findings.
    """

    name: str
    op: str
    status: str
    source: str
    order: int
    iteration: tuple[int, ...]
    accumulated: Error
    alone: Error
    quantizers: tuple[QuantizerAnalysis, ...]
    bits: int | None
    clipped: float | None
    bits_used: float | None
    bias_headroom: float | None
    accumulator_headroom: float | None
    channels: Channels
    nan: int | None
    finding: str = ""
    remedy: str = ""
    severity: float = 0.0

    @property
    def label(self) -> str:
        """The name, with the iteration of a loop."""
        return self.name + "".join(f"[{i}]" for i in self.iteration)

    @property
    def exponents(self) -> tuple[int, int] | None:
        """Exponent of the result and the best one, where it chooses one."""
        own = [q for q in self.quantizers if q.kind == QuantizerKind.activation]
        return (own[-1].exponent, own[-1].best_exponent) if own else None


def node_analyses(
    row: Row, order: int, tallies: Mapping[Path, Tally], quantizers: Mapping[Path, Quantizer]
) -> list[NodeAnalysis]:
    """The analyses of one row of a plan: one for each iteration that has a layer of its own."""
    iterations = np.shape(tallies[RESULT].largest[f"{ACCUMULATED}.nan_in"])
    sums = {p: {n: np.asarray(v, np.float64).sum(0) for n, v in t.sums.items()} for p, t in tallies.items()}
    largest = {p: {n: np.asarray(v, np.float64) for n, v in t.largest.items()} for p, t in tallies.items()}
    found = []
    for at in np.ndindex(iterations):
        here = {
            path: ({n: v[at] for n, v in sums[path].items()}, {n: v[at] for n, v in largest[path].items()})
            for path in tallies
        }
        found.append(_node_analysis(row, order, tuple(at), here, quantizers))
    return found


def error_of(sums: Mapping[str, Any], largest: Mapping[str, Any], name: str) -> Error:
    """The error of one of two comparisons; none where a node computes nothing of its own."""
    if f"{name}.signal" not in sums:
        return Error(math.inf, 1.0, 0.0)
    signal, power, noise = (float(np.sum(sums[f"{name}.{what}"])) for what in ("signal", "power", "noise"))
    lengths = math.sqrt(signal) * math.sqrt(power)
    # |x - y|^2 = |x|^2 + |y|^2 - 2 x y
    cosine = min(1.0, (signal + power - noise) / (2 * lengths)) if lengths > 0 else float(noise == 0)
    return Error(decibels(signal, noise), cosine, float(np.max(largest[f"{name}.error"])))


def decibels(signal: float, noise: float) -> float:
    """10 log10(signal / noise); infinite without noise, NaN where neither is there or a number is missing."""
    if noise == 0:
        return math.inf
    if not signal > 0 or math.isinf(noise):
        return math.nan if math.isnan(signal) else -math.inf
    return 10 * math.log10(signal / noise)


Counted = tuple[dict[str, Any], dict[str, Any]]


def _node_analysis(
    row: Row, order: int, at: tuple[int, ...], here: Mapping[Path, Counted], quantizers: Mapping[Path, Quantizer]
) -> NodeAnalysis:
    sums, largest = here[RESULT]
    parts = {path: _quantizer_analysis(quantizers[path], *counted) for path, counted in here.items() if path}
    activations = [q for q in parts.values() if q.kind == QuantizerKind.activation]
    # The result's own quantizer comes behind those of operands.
    ordered = sorted(parts.values(), key=lambda q: ("output" in q.name or "hidden" in q.name, q.name))
    output = next((q for q in ordered[::-1] if "output" in q.name or "hidden" in q.name), None)
    biases = [_bits_left(q) for q in parts.values() if q.kind == QuantizerKind.bias]
    total = float(np.max(largest["sum"])) if "sum" in largest else None
    nan = max(float(largest[name]) for name in largest if name.endswith(".nan_in"))
    return NodeAnalysis(
        name=row.name,
        op=row.op,
        status=row.status,
        source=row.source,
        order=order,
        iteration=at,
        accumulated=error_of(sums, largest, ACCUMULATED),
        alone=error_of(sums, largest, ALONE),
        quantizers=tuple(ordered),
        bits=row.bits,
        clipped=max((q.clipped for q in activations), default=None),
        bits_used=None if output is None else output.bits_used,
        bias_headroom=min(biases, default=None),
        accumulator_headroom=None if total is None else _INT32_BITS - math.log2(max(total, 1.0)),
        channels=_channels(sums, largest),
        nan=None if math.isinf(nan) else int(-nan),
    )


def _quantizer_analysis(quantizer: Quantizer, sums: dict[str, Any], largest: dict[str, Any]) -> QuantizerAnalysis:
    spec = quantizer.spec
    exponent = round(math.log2(largest["scale"])) if largest["scale"] > 0 else 0
    best, own, least, power = exponent, 0.0, 0.0, 0.0
    if "errors" in sums:
        errors = np.asarray(sums["errors"]) * 4.0 ** -np.arange(len(sums["errors"]), dtype=np.float64)
        own, least = float(errors[min(max(exponent, 0), len(errors) - 1)]), float(errors.min())
        power, best = float(sums["power"]), int(np.argmin(errors)) if own > least else exponent
    used = float(np.max(largest["magnitude"])) * float(largest["scale"])
    return QuantizerAnalysis(
        name=".".join(quantizer.path),
        kind=spec.kind.value,
        bits=spec.bits,
        exponent=exponent,
        best_exponent=best,
        excess_db=0.0 if own <= least else min(100.0, decibels(own, least)),
        sqnr_db=decibels(power, own),
        clipped=float(np.sum(sums["clipped"]) / sums["count"]),
        bits_used=math.log2(max(used, 0.5)) + 1,
        shares_scale=bool(quantizer.tied or quantizer.limited_by),
    )


def _bits_left(bias: QuantizerAnalysis) -> float:
    return bias.bits - bias.bits_used


def _channels(sums: dict[str, Any], largest: dict[str, Any]) -> Channels:
    if "values_of_a_channel" not in sums:
        return Channels()
    values = float(sums["values_of_a_channel"])
    top, bottom = largest["channels.real"], -largest["channels.minus_real"]
    quantized_top, quantized_bottom = largest["channels.quantized"], -largest["channels.minus_quantized"]
    amplitude = top - bottom
    constant = top == bottom
    lost = (quantized_top == quantized_bottom) & ~constant & (amplitude > _NEGLIGIBLE * amplitude.max())
    silent = (top <= 0) & ~constant
    if values < _ENOUGH_VALUES or not constant.size > 1:
        return Channels()
    rectified = bool(sums["rectified"]) and values >= _MANY_VALUES
    return Channels(_indices(lost), _indices(constant), _indices(silent) if rectified else ())


def _indices(flags: Any) -> tuple[int, ...]:
    return tuple(int(i) for i in np.flatnonzero(flags))
