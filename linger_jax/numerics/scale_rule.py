"""From a statistic or a learned threshold to the power-of-two scale of a quantizer.

The rule is ``e = clip(round((b - 1) - L), 0, 23)`` with ``L = log2(statistic)`` in float32. No logarithm is computed
here: the exponent falls by one at 23 float32 boundaries, which are known in advance for each bit width.
"""

from __future__ import annotations

import functools
import json
import math
from decimal import ROUND_CEILING, Decimal, localcontext
from enum import StrEnum
from importlib import resources

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import lax

from linger_jax.compat import wide_types

LARGEST_EXPONENT = 23
"""Scales are 2^0 .. 2^23 (docs/specification/quantizers.md section 3)."""

LARGEST_SCALE = np.float32(2.0**LARGEST_EXPONENT)
SMALLEST_SCALE = np.float32(1.0)
SMALLEST_STATISTIC = np.float32(1e-6)
"""Floor of every statistic (docs/specification/quantizers.md section 3.1)."""

_MANTISSA_BITS = 23
_EXPONENT_BIAS = 127
_INFINITY = np.float32(np.inf)
_NAN = np.float32(np.nan)
_LARGEST_FLOAT32 = np.finfo(np.float32).max


class ExponentTies(StrEnum):
    """Which exponent a tie of ``(b - 1) - L`` takes."""

    half_even = "half_even"
    """NATIVE rules."""
    half_away = "half_away"
    """CUDA and CUDA_GS rules: away from zero (docs/specification/quantizers.md section 8)."""


def scale_of_statistic(statistic: jax.Array, bits: int, ties: ExponentTies = ExponentTies.half_even) -> jax.Array:
    """Scale that a MOM statistic leads to.

    Args:
      statistic: float32 array, ``running_data``; at least 1e-6, infinite or NaN.
      bits: bit width, 2..32.
      ties: rule for ties.

    Returns:
      float32 array of the same shape, 2^e with e in 0..23; NaN for an infinite statistic and for NaN.

    Source: docs/specification/quantizers.md sections 3 and 8.
    """
    boundaries = _boundaries(bits, ties).reshape((LARGEST_EXPONENT,) + (1,) * statistic.ndim)
    exponent = jnp.sum(lax.expand_dims(statistic, (0,)) < boundaries, axis=0, dtype=jnp.int32)
    return jnp.where(statistic < _INFINITY, power_of_two(exponent), _NAN)


def scale_of_threshold(
    log2_threshold: jax.Array, bits: int, ties: ExponentTies = ExponentTies.half_even
) -> tuple[jax.Array, jax.Array]:
    """Scale that a learned threshold leads to, and whether the exponent was within its limits.

    Args:
      log2_threshold: float32 array, ``learning_data``.
      bits: bit width.
      ties: rule for ties.

    Returns:
      scale: float32 array of the same shape, 2^e with e in 0..23; NaN for an infinite threshold and for NaN.
      within: bool array, 0 <= round((b - 1) - L) <= 23 before clipping; the ends are within.

    Source: docs/specification/quantizers.md sections 3, 4 and 8.
    """
    method = lax.RoundingMethod.TO_NEAREST_EVEN if ties is ExponentTies.half_even else lax.RoundingMethod.AWAY_FROM_ZERO
    exponent = lax.round(np.float32(bits - 1) - log2_threshold, method)
    low, high = np.float32(0), np.float32(LARGEST_EXPONENT)
    within = (exponent >= low) & (exponent <= high)
    known = lax.is_finite(exponent)
    whole = lax.convert_element_type(lax.clamp(low, jnp.where(known, exponent, low), high), jnp.int32)
    return jnp.where(known, power_of_two(whole), _NAN), within


def power_of_two(exponent: jax.Array) -> jax.Array:
    """2^exponent, exact.

    Args:
      exponent: int32 array, -126..127.

    Returns:
      float32 array of the same shape.
    """
    pattern = lax.shift_left(exponent + np.int32(_EXPONENT_BIAS), jnp.full_like(exponent, _MANTISSA_BITS))
    return lax.bitcast_convert_type(pattern, jnp.float32)


def is_power_of_two(value: float) -> bool:
    """Whether a number of the host can be a scale: positive, finite, 2^n for a whole n."""
    return math.isfinite(value) and value > 0 and math.frexp(value)[0] == 0.5


def exponent_of_power_of_two(scale: jax.Array) -> jax.Array:
    """log2 of an exact power of two.

    Args:
      scale: float32 array of powers of two, 2^-126..2^127.

    Returns:
      int32 array of the same shape.
    """
    pattern = lax.bitcast_convert_type(scale, jnp.int32)
    return lax.shift_right_logical(pattern, jnp.full_like(pattern, _MANTISSA_BITS)) - np.int32(_EXPONENT_BIAS)


def log2_rounded(x: jax.Array) -> jax.Array:
    """log2 as the reference stores it in ``learning_data``: computed in float64, rounded once to float32.

    Args:
      x: float32 array.

    Returns:
      float32 array of the same shape; -inf for 0.

    Source: docs/specification/quantizers.md section 3, docs/specification/config.md section 4.
    """
    with wide_types():
        exact = lax.log(lax.convert_element_type(x, jnp.float64)) / np.log(np.float64(2.0))
        return lax.convert_element_type(exact, jnp.float32)


def exp2_rounded(x: jax.Array) -> jax.Array:
    """2^x computed in float64 and rounded once to float32, at most its largest number.

    Args:
      x: float32 array.

    Returns:
      float32 array of the same shape.
    """
    with wide_types():
        wide = lax.min(lax.exp2(lax.convert_element_type(x, jnp.float64)), np.float64(_LARGEST_FLOAT32))
        return lax.convert_element_type(wide, jnp.float32)


def derived_threshold(bits: int, octave: int, ties: ExponentTies = ExponentTies.half_even) -> int:
    """Mantissa from which a statistic 2^octave * (1 + mantissa / 2^23) takes the smaller exponent.

    Found without a library logarithm: the float32 value of log2 at which ``round(f32((b - 1) - L))`` drops is searched
    for, and the statistic whose exact logarithm rounds to it is computed in decimal arithmetic.

    Args:
      bits: bit width, 2..32.
      octave: exponent n of the statistic.
      ties: rule for ties.

    Returns:
      Mantissa in 0..2^23; 2^23 when the whole octave keeps the larger exponent.

    Source: docs/specification/quantizers.md section 3 (the rule); ``tables/mom_scale_thresholds.json`` holds its values
    for eight widths.
    """
    smaller = bits - 2 - octave
    below, above = np.float32(octave), np.float32(octave + 1)
    if _host_exponent(bits, below, ties) <= smaller:
        return 0
    while np.nextafter(below, above) != above:
        middle = np.float32((float(below) + float(above)) / 2)
        if _host_exponent(bits, middle, ties) <= smaller:
            above = middle
        else:
            below = middle
    with localcontext() as context:
        context.prec = 40
        midpoint = (Decimal(float(below)) + Decimal(float(above))) / 2
        power: Decimal = Decimal(2) ** (midpoint - octave)
        mantissa = ((power - 1) * 2**_MANTISSA_BITS).to_integral_value(ROUND_CEILING)
    return min(2**_MANTISSA_BITS, int(mantissa))


@functools.cache
def published_thresholds() -> dict[int, dict[int, int]]:
    """Thresholds by bit width and octave, from ``tables/mom_scale_thresholds.json`` (``half_even``)."""
    text = resources.files("linger_jax.numerics").joinpath("tables/mom_scale_thresholds.json").read_text("utf-8")
    table: dict[str, dict[str, int]] = json.loads(text)["T"]
    return {int(bits): {int(octave): value for octave, value in row.items()} for bits, row in table.items()}


@functools.cache
def _boundaries(bits: int, ties: ExponentTies) -> npt.NDArray[np.float32]:
    """float32 [23], entry k - 1: the exponent is at least k exactly for statistics below it."""
    row = published_thresholds().get(bits, {}) if ties is ExponentTies.half_even else {}
    limits = []
    for exponent in range(1, LARGEST_EXPONENT + 1):
        octave = bits - 1 - exponent
        mantissa = row[octave] if octave in row else derived_threshold(bits, octave, ties)
        limits.append(np.ldexp(1.0 + mantissa / 2**_MANTISSA_BITS, octave))
    return np.array(limits, np.float32)


def _host_exponent(bits: int, log2_statistic: np.float32, ties: ExponentTies) -> int:
    t = float(np.float32(bits - 1) - np.float32(log2_statistic))
    return round(t) if ties is ExponentTies.half_even else int(math.copysign(math.floor(abs(t) + 0.5), t))
