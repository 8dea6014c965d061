"""Which power of two a calibration takes for a range: the nearest, the next larger, or the one with the least error.

The least error is that of all batches of the calibration, so the errors are added up for every exponent that the range
may still come to ask for. Source: docs/decisions.md D25.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import lax

from linger_jax.compat import wide_types
from linger_jax.config import CalibrateExponent, QatMethod
from linger_jax.numerics import (
    LARGEST_EXPONENT,
    SMALLEST_STATISTIC,
    exponent_of_power_of_two,
    power_of_two,
    round_scaled,
)
from linger_jax.quantizers.quantize import own_scale
from linger_jax.quantizers.quantizer_spec import QuantizerSpec

_NEIGHBOURS = 3
"""Exponents on either side of the range's nearest that are looked at."""
_EXPONENTS = np.arange(LARGEST_EXPONENT + 1, dtype=np.int32)
_LOG2_OF_FLOOR = np.float32(-19.9315)
"""A little above that of 1e-6."""
_FARTHEST = np.float32(2.0**30)
"""Steps that a value may lie beyond the grid; what is cut by more counts as much."""


def no_errors() -> npt.NDArray[np.float32]:
    """The errors of no data: see ``_added``."""
    return np.zeros((2, LARGEST_EXPONENT + 1), np.float32)


def settled(
    spec: QuantizerSpec, t: jax.Array, value: jax.Array, errors: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Takes the exponent that ``spec.calibrate_exponent`` asks for.

    Args:
      spec: the quantizer.
      t: float32 array of any shape: the batch, without gradient.
      value: float32 scalar, the range of all batches so far as ``running_data`` (MOM) or ``learning_data`` (TQT).
      errors: float32 [2, 24] of the batches before, see ``_added``.

    Returns:
      The exponent, int32 scalar 0 to 23; the value from which training takes it; and the errors with this batch. Of
      zeros alone the range stays as it is (docs/decisions.md D28).
    """
    scale = own_scale(spec, value)
    nearest = exponent_of_power_of_two(jnp.where(scale == scale, scale, np.float32(1)))
    match spec.calibrate_exponent:
        case CalibrateExponent.nearest:
            return nearest, value, errors
        case CalibrateExponent.no_clip:
            exponent = _covering(spec, value)
        case CalibrateExponent.least_error:
            errors = _added(spec, t, nearest, errors)
            exponent = _with_least_error(nearest, errors)
    saw_data = value > (SMALLEST_STATISTIC if spec.qat_method is QatMethod.MOM else _LOG2_OF_FLOOR)
    return (
        jnp.where(saw_data, exponent, nearest),
        jnp.where(saw_data, _value_of(spec, exponent), value),
        errors,
    )


def _added(spec: QuantizerSpec, t: jax.Array, nearest: jax.Array, errors: jax.Array) -> jax.Array:
    """The squared errors of earlier batches and of one more.

    Args:
      spec: the quantizer.
      t: float32 array of any shape: the batch, without gradient.
      nearest: int32 scalar, the exponent that is nearest to the range of all batches so far. It can only fall, so
        errors of exponents that are out of reach are left out.
      errors: float32 [2, 24], see the result.

    Returns:
      float32 [2, 24]: for each exponent the sum of (t - quantized t)^2, in squared steps of its grid, as the sum of two
      numbers, which hold 48 bits of it.
    """
    low, high = (np.float32(limit) for limit in spec.limits)

    def with_exponent(exponent: jax.Array, sums: jax.Array) -> jax.Array:
        scale = power_of_two(exponent)
        whole = lax.clamp(low, round_scaled(t, scale, spec.rounding_in_evaluation), high)
        distance = lax.convert_element_type(lax.min(lax.abs(t * scale - whole), _FARTHEST), jnp.float64)
        return sums.at[exponent].add(jnp.sum(distance * distance))

    with wide_types():
        before = jnp.sum(lax.convert_element_type(errors, jnp.float64), axis=0)
        last = lax.min(nearest + np.int32(_NEIGHBOURS), np.int32(LARGEST_EXPONENT))
        sums = lax.fori_loop(np.int32(0), last + np.int32(1), with_exponent, before)
        coarse = lax.convert_element_type(sums, jnp.float32)
        rest = lax.convert_element_type(sums - lax.convert_element_type(coarse, jnp.float64), jnp.float32)
    return jnp.stack([coarse, rest])


def _with_least_error(nearest: jax.Array, errors: jax.Array) -> jax.Array:
    """The exponent with the least error among those near the nearest; of equal ones the smaller: the coarser grid.

    The sums are compared as float32 numbers: in which order they were added is not seen in them.

    Args:
      nearest: int32 scalar.
      errors: float32 [2, 24] of ``_added``.

    Returns:
      int32 scalar.
    """
    with wide_types():
        sums = jnp.sum(lax.convert_element_type(errors, jnp.float64), axis=0)
        steps = np.ldexp(np.float64(1), -2 * _EXPONENTS)
        compared = lax.convert_element_type(sums * steps, jnp.float32)
    is_near = jnp.abs(_EXPONENTS - nearest) <= _NEIGHBOURS
    best = jnp.argmin(jnp.where(is_near, compared, np.float32(np.inf)))
    return lax.convert_element_type(best, jnp.int32)


def _covering(spec: QuantizerSpec, value: jax.Array) -> jax.Array:
    """The exponent of the range rounded up to a power of two.

    Args:
      spec: the quantizer.
      value: float32 scalar, the range as ``running_data`` (MOM) or ``learning_data`` (TQT).

    Returns:
      int32 scalar, 0 to 23.
    """
    if spec.qat_method is QatMethod.MOM:
        below = exponent_of_power_of_two(lax.max(value, SMALLEST_STATISTIC))
        log2 = jnp.where(power_of_two(below) < value, below + np.int32(1), below)
    else:
        bounds = np.float32(-2 * LARGEST_EXPONENT), np.float32(2 * LARGEST_EXPONENT)
        log2 = lax.convert_element_type(lax.ceil(lax.clamp(bounds[0], value, bounds[1])), jnp.int32)
    return lax.clamp(np.int32(0), np.int32(spec.bits - 1) - log2, np.int32(LARGEST_EXPONENT))


def _value_of(spec: QuantizerSpec, exponent: jax.Array) -> jax.Array:
    """The statistic (MOM) or threshold (TQT) from which training takes an exponent: float32 scalar."""
    log2 = np.int32(spec.bits - 1) - exponent
    if spec.qat_method is QatMethod.MOM:
        return power_of_two(log2)
    return lax.convert_element_type(log2, jnp.float32)
