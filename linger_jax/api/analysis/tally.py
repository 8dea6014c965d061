"""What is counted of one node and of one quantizer: sums and largest values, added up over batches.

All of it is one number, a row of 24 or one number a channel, whatever the size of the data. Sums over batches are kept
as two float32 numbers, which hold 48 bits: a thousand batches lose nothing that a decibel shows.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.compat import wide_types
from linger_jax.config import RoundMode
from linger_jax.numerics import LARGEST_EXPONENT, power_of_two, round_scaled
from linger_jax.plan import Quantizer
from linger_jax.quantizers import QTensor, QuantizerKind, QuantizerSpec, as_one, as_two
from linger_jax.typing import Path

Array = jax.Array
_EXPONENTS = np.arange(LARGEST_EXPONENT + 1, dtype=np.int32)
_LOOKED_AT = 4096
"""Values of a tensor and batch from which errors by exponent are taken, so that 24 grids cost little."""
_COUNTED_BELOW = np.float32(1e18)
"""Larger magnitudes (masks of attention) are left out: their squares are beyond float32."""
_FARTHEST = np.float32(2.0**30)
_NEVER = np.float32(-np.inf)
_LANES = 32
"""Partial sums of a tensor: processors add that many at once, and the total is taken on the host."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Tally:
    """Numbers that are added over batches and iterations, and numbers of which the largest counts."""

    sums: dict[str, Array]
    largest: dict[str, Array]


Tallies = dict[int, dict[Path, Tally]]
"""By row of the plan; in it by path of the quantizer, the empty path for the node's result."""
RESULT: Path = ()
ACCUMULATED, ALONE = "accumulated", "alone"
_SAMPLE = "sample"


def of_result(
    name: str, real: Array, quantized: Array, batch: Array, *, rectified: bool = False, by_channel: bool = False
) -> Tally:
    """Compares what a node returns in two runs.

    Args:
      name: of the comparison.
      real: float32 array, the float result.
      quantized: of its shape, the other one.
      batch: float32 scalar, the number of the batch.
      rectified: what is negative does not count, since a relu follows.
      by_channel: whether to look at each channel (of the last axis).
    """
    # Each of the reductions would compute its operands again.
    real, quantized = lax.optimization_barrier((real, quantized))
    x, y = (_countable(v, rectified=rectified) for v in (real, quantized))
    error = jnp.where((x == np.float32(0)) & (jnp.abs(real) >= _COUNTED_BELOW), np.float32(0), y - x)
    signal, power, noise = (jnp.sum(_in_lanes(v * v), 0) for v in (x, y, error))
    real_nan, nan = jnp.isnan(signal).any(), jnp.isnan(power).any()
    sums = {f"{name}.signal": signal, f"{name}.power": power, f"{name}.noise": noise}
    largest = {
        f"{name}.error": jnp.max(_in_lanes(jnp.abs(error)), 0),
        f"{name}.real_nan_in": jnp.where(real_nan, -batch, _NEVER),
        f"{name}.nan_in": jnp.where(nan & ~real_nan, -batch, _NEVER),
    }
    tally = Tally({n: _padded(v) for n, v in sums.items()}, {n: _padded(v) for n, v in largest.items()})
    if by_channel:
        axes = tuple(range(real.ndim - 1))
        tally.sums["values_of_a_channel"] = jnp.float32(math.prod(real.shape[:-1]))
        tally.sums["rectified"] = jnp.float32(rectified)
        for what, value in (("real", real), ("quantized", quantized)):
            tally.largest[f"channels.{what}"] = jnp.max(value, axes)
            tally.largest[f"channels.minus_{what}"] = -jnp.min(value, axes)
    return tally


def of_quantizer(spec: QuantizerSpec, x: Array, result: QTensor, *, rectified: bool = False) -> Tally:
    """What a quantizer does to its values.

    Args:
      spec: the quantizer.
      x: float32 array, what it quantizes.
      result: what it returns, of which the scale and bits count.
      rectified: what is negative does not count.

    Returns:
      The tally; where the exponent is the quantizer's own choice it still holds a sample (``with_errors``).
    """
    low, high = limits_of(result.bits)
    x = _countable(lax.optimization_barrier(x), rectified=rectified)
    least, most = (low - np.float32(0.5)) / result.scale, (high + np.float32(0.5)) / result.scale
    beyond = (x > most) | (x < least)
    sums = {
        "count": jnp.float32(math.prod(x.shape)),
        "clipped": _padded(jnp.sum(_in_lanes(beyond), 0, dtype=jnp.float32)),
    }
    largest = {"magnitude": _padded(jnp.max(_in_lanes(jnp.abs(x)), 0)), "scale": result.scale}
    if spec.kind is not QuantizerKind.bias:
        sums[_SAMPLE] = _sample(x)
    return Tally(sums, largest)


def with_errors(tallies: Tallies, quantizers: Mapping[Path, Quantizer]) -> Tallies:
    """The squared error of each sample, in squared steps, for every exponent: those of all quantizers in one go."""
    groups: dict[tuple[RoundMode, int], list[Tally]] = {}
    for found in tallies.values():
        for path, tally in found.items():
            if _SAMPLE in tally.sums:
                spec = quantizers[path].spec
                groups.setdefault((spec.rounding_in_evaluation, spec.bits), []).append(tally)
    for (rounding, bits), members in groups.items():
        samples = jnp.stack([tally.sums.pop(_SAMPLE) for tally in members])
        errors, powers = _errors(samples, rounding, bits), jnp.sum(samples * samples, 1)
        for tally, error, power in zip(members, errors, powers, strict=True):
            tally.sums.update({"errors": error, "power": power})
    return tallies


def _errors(samples: Array, rounding: RoundMode, bits: int) -> Array:
    """Float32 [quantizers, 24] of samples [quantizers, values]."""
    low, high = limits_of(bits)

    def error(exponent: Array) -> Array:
        steps = samples * power_of_two(exponent)
        whole = lax.clamp(low, round_scaled(steps, jnp.float32(1), rounding), high)
        distance = lax.min(lax.abs(steps - whole), _FARTHEST)
        return jnp.sum(distance * distance, 1)

    return jnp.transpose(lax.map(error, jnp.asarray(_EXPONENTS)))


def of_sum(result: Array, scale: Array) -> Array:
    """The largest magnitude of a layer's sums in steps of its products."""
    return _padded(jnp.max(_in_lanes(jnp.abs(_countable(result))), 0)) * scale


def limits_of(bits: int) -> tuple[np.float32, np.float32]:
    """Smallest and largest integer of so many bits."""
    return np.float32(-(2 ** (bits - 1))), np.float32(2 ** (bits - 1) - 1)


def _countable(x: Array, *, rectified: bool = False) -> Array:
    """The values, those that are too large to be squared as zero; NaN stays."""
    x = jnp.where(jnp.abs(x) >= _COUNTED_BELOW, np.float32(0), x)
    return jnp.maximum(x, np.float32(0)) if rectified else x


def _in_lanes(x: Array) -> Array:
    return x.reshape(-1, math.gcd(x.size, _LANES))


def _padded(partial: Array) -> Array:
    return partial if partial.ndim == 0 else jnp.pad(partial, (0, _LANES - partial.size))


def _sample(x: Array) -> Array:
    """Values at a distance that no axis is a multiple of, so that all channels are seen; zeros, which count nothing."""
    distance = max(1, math.ceil(x.size / _LOOKED_AT))
    while distance > 1 and any(math.gcd(distance, extent) > 1 for extent in x.shape):
        distance += 1
    sample = x.reshape(-1)[::distance]
    return jnp.pad(sample, (0, _LOOKED_AT - sample.size))


def over_iterations(tally: Tally) -> Tally:
    """One tally of those of all iterations of a loop, which are their leading axis."""
    sums = {name: jnp.sum(value, 0) for name, value in tally.sums.items()}
    return Tally(sums, {name: jnp.max(value, 0) for name, value in tally.largest.items()})


@jax.jit
def first(tallies: Tallies) -> Tallies:
    """The tallies of the first batch, in the form of a total."""
    return jax.tree.map(_begun, tallies, is_leaf=_is_tally)


@jax.jit
def added(total: Tallies, tallies: Tallies) -> Tallies:
    """A total and one more batch."""
    return jax.tree.map(_joined, total, tallies, is_leaf=_is_tally)


def _begun(tally: Tally) -> Tally:
    return Tally({name: jnp.stack([v, jnp.zeros_like(v)]) for name, v in tally.sums.items()}, tally.largest)


def _joined(total: Tally, tally: Tally) -> Tally:
    with wide_types():
        sums = {
            name: as_two(as_one(total.sums[name]) + lax.convert_element_type(value, jnp.float64))
            for name, value in tally.sums.items()
        }
    largest = {name: jnp.maximum(total.largest[name], value) for name, value in tally.largest.items()}
    return Tally(sums, largest)


def _is_tally(value: Any) -> bool:
    return isinstance(value, Tally)
