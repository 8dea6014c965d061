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
from linger_jax.quantizers.quantizer_spec import QuantizerKind, QuantizerSpec
from linger_jax.quantizers.wide_sum import as_one, as_two, no_sum

_NEIGHBOURS = 3
"""Exponents on either side of the range's nearest that are looked at."""
_EXPONENTS = np.arange(LARGEST_EXPONENT + 1, dtype=np.int32)
_LAST = np.int32(LARGEST_EXPONENT)
_LOG2_OF_FLOOR = np.float32(-19.9315)
"""A little above that of 1e-6."""
_FARTHEST = np.float64(2.0**32)
"""Twice the largest grid: what is cut by more counts as much, so that float32 holds the sums."""


def no_errors() -> npt.NDArray[np.float32]:
    """The errors of no data: see ``added_errors``."""
    return no_sum(LARGEST_EXPONENT + 1)


def needs_errors(spec: QuantizerSpec) -> bool:
    """Whether ``settled`` looks at errors."""
    return spec.kind is not QuantizerKind.bias and spec.calibrate_exponent is CalibrateExponent.least_error


def settled(
    spec: QuantizerSpec, t: jax.Array, value: jax.Array, errors: jax.Array | None, *, only_grows: bool
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Takes the exponent that ``spec.calibrate_exponent`` asks for.

    Args:
      spec: the quantizer.
      t: float32 array of any shape: the batch, without gradient.
      value: float32 scalar, the range of all batches so far as ``running_data`` (MOM) or ``learning_data`` (TQT).
      errors: of the batches before, where they are needed; see ``added_errors``.
      only_grows: whether no later batch makes the range smaller.

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
            assert errors is not None
            last = lax.min(nearest + np.int32(_NEIGHBOURS), _LAST) if only_grows else _LAST
            errors = added_errors(spec, t, errors, last)
            exponent = with_least_error(errors, jnp.abs(_EXPONENTS - nearest) <= _NEIGHBOURS)
    saw_data = value > (SMALLEST_STATISTIC if spec.qat_method is QatMethod.MOM else _LOG2_OF_FLOOR)
    return (
        jnp.where(saw_data, exponent, nearest),
        jnp.where(saw_data, _value_of(spec, exponent), value),
        errors,
    )


def added_errors(spec: QuantizerSpec, t: jax.Array, errors: jax.Array, last: jax.Array | np.int32 = _LAST) -> jax.Array:
    """The squared errors of earlier batches and of one more.

    Args:
      spec: the quantizer.
      t: float32 array of any shape: the batch, without gradient.
      errors: float32 [2, 24], see the result.
      last: int32 scalar, the largest exponent that may still be asked for.

    Returns:
      float32 [2, 24]: for each exponent the sum of (t - quantized t)^2, as ``wide_sum``.
    """
    low, high = (np.float32(limit) for limit in spec.limits)

    def with_exponent(exponent: jax.Array, sums: jax.Array) -> jax.Array:
        scale = power_of_two(lax.convert_element_type(exponent, jnp.int32))
        whole = lax.clamp(low, round_scaled(t, scale, spec.rounding_in_evaluation), high)
        unit = lax.convert_element_type(scale, jnp.float64)
        steps = lax.min(lax.convert_element_type(lax.abs(t * scale - whole), jnp.float64), _FARTHEST * unit)
        return sums.at[exponent].add(jnp.sum(steps * steps) / (unit * unit))

    with wide_types():
        return as_two(lax.fori_loop(np.int32(0), last + np.int32(1), with_exponent, as_one(errors)))


def with_least_error(errors: jax.Array, allowed: jax.Array | None = None) -> jax.Array:
    """The exponent with the least error; of equal ones the smaller: the coarser grid.

    The sums are compared as float32 numbers: in which order they were added is not seen in them.

    Args:
      errors: float32 [2, 24] of ``added_errors``.
      allowed: bool [24], the exponents among which; None for all.

    Returns:
      int32 scalar.
    """
    with wide_types():
        compared = lax.convert_element_type(as_one(errors), jnp.float32)
    compared = compared if allowed is None else jnp.where(allowed, compared, np.float32(np.inf))
    return lax.convert_element_type(jnp.argmin(compared), jnp.int32)


def _covering(spec: QuantizerSpec, value: jax.Array) -> jax.Array:
    """The exponent of the range rounded up to a power of two.

    Args:
      spec: the quantizer.
      value: float32 scalar, the range as ``running_data`` (MOM) or ``learning_data`` (TQT).

    Returns:
      int32 scalar, 0 to 23.
    """
    if spec.qat_method is QatMethod.MOM:
        log2 = covering_octave(lax.max(value, SMALLEST_STATISTIC))
    else:
        bounds = np.float32(-2 * LARGEST_EXPONENT), np.float32(2 * LARGEST_EXPONENT)
        log2 = lax.convert_element_type(lax.ceil(lax.clamp(bounds[0], value, bounds[1])), jnp.int32)
    return lax.clamp(np.int32(0), np.int32(spec.bits - 1) - log2, np.int32(LARGEST_EXPONENT))


def covering_octave(magnitude: jax.Array) -> jax.Array:
    """log2 of the smallest power of two that is not below a magnitude: int32 scalar."""
    below = exponent_of_power_of_two(magnitude)
    return jnp.where(power_of_two(below) < magnitude, below + np.int32(1), below)


def _value_of(spec: QuantizerSpec, exponent: jax.Array) -> jax.Array:
    """The statistic (MOM) or threshold (TQT) from which training takes an exponent: float32 scalar."""
    log2 = np.int32(spec.bits - 1) - exponent
    if spec.qat_method is QatMethod.MOM:
        return power_of_two(log2)
    return lax.convert_element_type(log2, jnp.float32)
