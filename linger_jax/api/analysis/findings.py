"""What is wrong with a node, and what to do: one line each, ordered by how much mending it gains."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator

from linger_jax.api.analysis.node_analysis import NodeAnalysis, QuantizerAnalysis
from linger_jax.quantizers import QuantizerKind

_WORTH_TELLING_DB = 3.0
"""Less is what another batch of data does to the choice of an exponent."""
_FINE_DB = 55.0
"""From here on nobody hears the noise of a quantizer."""
_EQUAL_DB = 20.0
"""Findings beyond it rank alike, the first in the order of execution first: what it spoils follows behind it."""
_LOST_CHANNEL_DB, _CONSTANT_CHANNEL_DB, _SILENT_CHANNEL_DB = 20.0, 15.0, 5.0
_OVERFLOW_DB, _NAN_DB = 100.0, 1000.0
_COARSE_DB = 12.0
"""Of a node that adds more error than this by itself, although its scales are the best there are."""
_VISIBLE_CLIPPING = 0.001
_LITTLE_ROOM = 2.0
"""Bits: a bias with no more left decides the exponent of its weight."""
_NAMED = 6
"""Channels named in a finding."""


@dataclasses.dataclass(frozen=True)
class _Finding:
    severity: float
    text: str
    remedy: str


def ranked(nodes: Iterable[NodeAnalysis]) -> tuple[NodeAnalysis, ...]:
    """The nodes with what was found about them, the worst first.

    Those with a finding come first, by what mending them gains; the others by the error that each adds by itself.
    """
    told = [_told(node) for node in nodes]

    def key(node: NodeAnalysis) -> tuple[float, float, int]:
        noise = node.alone.sqnr_db
        return -min(node.severity, _EQUAL_DB), math.inf if node.severity or math.isnan(noise) else noise, node.order

    return tuple(sorted(told, key=key))


def _told(node: NodeAnalysis) -> NodeAnalysis:
    found = sorted(_findings(node), key=lambda finding: -finding.severity)
    if not found:
        return node
    text = "; ".join(dict.fromkeys(finding.text for finding in found))
    return dataclasses.replace(node, finding=text, remedy=found[0].remedy, severity=found[0].severity)


def _findings(node: NodeAnalysis) -> Iterator[_Finding]:
    if node.nan is not None:
        yield _Finding(
            _NAN_DB,
            f"the quantized run gives NaN from batch {node.nan} on, the float run does not",
            "look for a scale or parameter that is not a number; start again from adopt and calibrate",
        )
    for quantizer in node.quantizers:
        yield from _of_quantizer(node, quantizer)
    if node.accumulator_headroom is not None and node.accumulator_headroom < 0:
        yield _Finding(
            _OVERFLOW_DB,
            f"its sums need {-node.accumulator_headroom:.1f} bits more than the accumulator's 32",
            "give the layer fewer weight or input bits, or smaller weights",
        )
    yield from _of_channels(node)
    if node.alone.sqnr_db < _COARSE_DB:
        yield _Finding(
            _WORTH_TELLING_DB / 2,
            f"quantized by itself it keeps {node.alone.sqnr_db:.0f} dB, although its exponents are the best",
            "give it more bits, or leave it float (disable_submodel, disable_ops)",
        )


def _of_quantizer(node: NodeAnalysis, quantizer: QuantizerAnalysis) -> Iterator[_Finding]:
    name = _short(node, quantizer)
    if quantizer.kind == QuantizerKind.bias:
        if quantizer.clipped > 0:
            yield _Finding(
                _OVERFLOW_DB,
                f"{_percent(quantizer.clipped)} of the biases do not fit {quantizer.bits} bits and are cut",
                "give the layer inputs of a larger range, a smaller bias, or more bias_bits",
            )
        return
    if quantizer.excess_db < _WORTH_TELLING_DB or quantizer.sqnr_db > _FINE_DB:
        return
    away = quantizer.exponent - quantizer.best_exponent
    severity = min(quantizer.excess_db, _WORTH_TELLING_DB) if quantizer.shares_scale else quantizer.excess_db
    above = f"{abs(away)} {'above' if away > 0 else 'below'} the best"
    cost = f"costs {quantizer.excess_db:.0f} dB"
    if quantizer.shares_scale:
        yield _Finding(
            severity,
            f"{name} exponent {above}, for the sake of values that it is joined with: {cost}",
            "bring the ranges of the joined values closer, or give them more bits",
        )
    elif away < 0 and quantizer.kind == QuantizerKind.weight and (node.bias_headroom or math.inf) <= _LITTLE_ROOM:
        yield _Finding(
            severity,
            f"{name} exponent {above}, because the bias needs the room: {cost}",
            "give the layer inputs of a larger range, a smaller bias, or more bias_bits",
        )
    elif away > 0 and quantizer.clipped >= _VISIBLE_CLIPPING:
        yield _Finding(
            severity,
            f"{_percent(quantizer.clipped)} of the values of {name} are clipped, exponent {above}: {cost}",
            "recalibrate on data of this range; raise a clamp that cuts it",
        )
    else:
        yield _Finding(severity, f"{name} exponent {above}: {cost}", "recalibrate on data like this")


def _of_channels(node: NodeAnalysis) -> Iterator[_Finding]:
    lost, constant, silent = node.channels.lost, node.channels.constant, node.channels.silent
    if lost:
        yield _Finding(
            _LOST_CHANNEL_DB,
            f"{_channels(lost)} dead: too small for the common scale",
            "bring the channels of its weight to like ranges, or give it more bits",
        )
    if constant:
        yield _Finding(
            _CONSTANT_CHANNEL_DB,
            f"{_channels(constant)} dead, in float too: one value for all of this data",
            "look at the weights of these channels; prune them if they are meant to be dead",
        )
    if silent:
        yield _Finding(
            _SILENT_CHANNEL_DB,
            f"{_channels(silent)} dead behind the relu, in float too",
            "look at their biases and at the data",
        )


def _short(node: NodeAnalysis, quantizer: QuantizerAnalysis) -> str:
    inside = quantizer.name.removeprefix(f"{node.name}.")
    return inside.replace("_quantizer", "").replace(".", " ")


def _channels(indices: tuple[int, ...]) -> str:
    names = ", ".join(map(str, indices[:_NAMED]))
    if len(indices) == 1:
        return f"channel {names} is"
    return f"channels {names}{f' and {len(indices) - _NAMED} more' if len(indices) > _NAMED else ''} are"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"
