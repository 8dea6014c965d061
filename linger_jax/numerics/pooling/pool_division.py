"""Integer division of average pooling: window sum in input steps to average in output steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import lax

from linger_jax.compat import wide_types
from linger_jax.config import RoundMode
from linger_jax.errors import LingerError
from linger_jax.numerics.pooling import reciprocal
from linger_jax.numerics.scale_rule import exponent_of_power_of_two
from linger_jax.numerics.true_division import true_quotient
from linger_jax.targets import Platform, PoolDivision, target_of

_INT32 = np.iinfo(np.int32)
_LARGEST_DIVISOR = 2**24

_HostInts = npt.NDArray[np.int64]


def divide(
    total: jax.Array,
    divisor: npt.ArrayLike,
    scale_in: jax.Array,
    scale_out: jax.Array,
    platform: Platform,
    round_mode: RoundMode,
) -> jax.Array:
    """Divide window sums the way the chip does and re-scale them to the output's steps.

    Where all divisors are powers of two, division and re-scaling are one shift with one rounding. Otherwise the
    platform's reciprocal gives the average in input steps, and a shift re-scales it (a second rounding).

    Args:
      total: int32 array of any shape: sums in steps of 1 / scale_in.
      divisor: integers 1..2^24 known at trace time, broadcastable to ``total``'s shape.
      scale_in: float32 scalar power of two, input steps per unit.
      scale_out: float32 scalar power of two, output steps per unit.
      platform: target chip.
      round_mode: rounding mode of the output quantizer, used by the shifts.

    Returns:
      int32 array of ``total``'s shape: averages in steps of 1 / scale_out, saturated to int32, not to the output's
      bits. No gradient is defined: callers pass the float average's gradient around it.

    Raises:
      LingerError: a divisor outside 1..2^24 or of a shape that does not fit.

    Source: docs/specification/layers.md section 9.1.
    """
    divisors = _checked(divisor, total.shape)
    rescale = exponent_of_power_of_two(scale_in) - exponent_of_power_of_two(scale_out)
    with wide_types():
        wide = lax.convert_element_type(total, jnp.int64)
        shift = lax.convert_element_type(rescale, jnp.int64)
        if np.all(divisors & (divisors - 1) == 0):
            return _saturated(_shift(wide, shift + _per_divisor(_log2, divisors), round_mode))
        quotient = _quotient(wide, divisors, target_of(platform).pool_division)
        average = lax.convert_element_type(_saturated(quotient), jnp.int64)
        return _saturated(_shift(average, shift, round_mode))


def _checked(divisor: npt.ArrayLike, shape: tuple[int, ...]) -> _HostInts:
    divisors = np.asarray(divisor)
    fits = np.issubdtype(divisors.dtype, np.integer) and divisors.size > 0
    if not fits or divisors.min() < 1 or divisors.max() > _LARGEST_DIVISOR:
        raise LingerError(f"average pooling divides by integers from 1 to 2^24, not by {divisor!r}")
    try:
        np.broadcast_to(divisors, shape)
    except ValueError:
        raise LingerError(f"divisors of shape {divisors.shape} do not fit window sums of shape {shape}") from None
    return divisors.astype(np.int64).reshape((1,) * (len(shape) - divisors.ndim) + divisors.shape)


def _per_divisor(function: Callable[[int], float], divisors: _HostInts) -> npt.NDArray[np.generic]:
    """``function`` of each divisor, computed once for each different one."""
    different, where = np.unique(divisors, return_inverse=True)
    return np.array([function(int(d)) for d in different])[where].reshape(divisors.shape)


def _log2(power: int) -> int:
    return power.bit_length() - 1


def _shift(value: jax.Array, right: jax.Array, round_mode: RoundMode) -> jax.Array:
    """value / 2^right, rounded; exact where ``right`` is negative. All int64."""
    right = jnp.broadcast_to(right, value.shape)
    one = np.int64(1)
    down = lax.max(right, one)
    if round_mode is RoundMode.floor:
        rounded = lax.shift_right_arithmetic(value, down)
    elif round_mode is RoundMode.round:
        magnitude = lax.abs(value)
        half = lax.shift_left(jnp.full_like(value, 1), down - one)
        whole = lax.shift_right_arithmetic(magnitude, down)
        rest = magnitude - lax.shift_left(whole, down)
        up = (rest > half) | ((rest == half) & ((whole & one) == one))
        rounded = lax.sign(value) * (whole + lax.convert_element_type(up, jnp.int64))
    else:
        doubled = lax.shift_right_arithmetic(value, down - one)
        rounded = lax.shift_right_arithmetic(doubled, jnp.full_like(doubled, 1)) + (doubled & one)
    zero = np.int64(0)
    return jnp.where(right > zero, rounded, lax.shift_left(value, lax.max(-right, zero)))


def _quotient(value: jax.Array, divisors: _HostInts, division: PoolDivision) -> jax.Array:
    """value / divisors in whole input steps, as the chip divides. All int64."""
    match division:
        case PoolDivision.half_open_reciprocal:
            return _by_factor(value, _per_divisor(reciprocal.half_open, divisors))
        case PoolDivision.closed_reciprocal:
            return _by_factor(value, _per_divisor(reciprocal.closed, divisors))
        case PoolDivision.integer_reciprocal:
            return _by_shifted_product(value, divisors)
        case PoolDivision.float_division:
            return _by_float_division(value, divisors)
        case _:
            assert_never(division)


def _by_factor(value: jax.Array, factors: npt.NDArray[np.generic]) -> jax.Array:
    product = lax.convert_element_type(value, jnp.float64) * factors
    # The maximum changes no value; it keeps the product's rounding (see contraction.py).
    return _integers(lax.floor(lax.max(product, np.float64(-(2.0**62))) + np.float64(0.5)))


def _by_shifted_product(value: jax.Array, divisors: _HostInts) -> jax.Array:
    factors = _per_divisor(lambda d: reciprocal.in_integers(d)[0], divisors)
    shifts = _per_divisor(lambda d: reciprocal.in_integers(d)[1], divisors)
    doubled = lax.shift_right_arithmetic(value * factors, jnp.broadcast_to(shifts, value.shape))
    return lax.shift_right_arithmetic(doubled + np.int64(1), jnp.full_like(doubled, 1))


def _by_float_division(value: jax.Array, divisors: _HostInts) -> jax.Array:
    quotient = true_quotient(lax.convert_element_type(value, jnp.float32), divisors.astype(np.float32))
    return _integers(lax.floor(quotient + np.float32(0.5)))


def _integers(whole: jax.Array) -> jax.Array:
    return lax.convert_element_type(whole, jnp.int64)


def _saturated(value: jax.Array) -> jax.Array:
    return lax.convert_element_type(lax.clamp(np.int64(_INT32.min), value, np.int64(_INT32.max)), jnp.int32)
