"""Softmax: powers of two by a polynomial, their sum, and a division of the chip's own."""

from __future__ import annotations

import dataclasses
import functools
from typing import assert_never

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.numerics import int64
from linger_jax.numerics.chip_kernels.kernel_table import kernels_of
from linger_jax.numerics.chip_kernels.row_reductions import row_maximum, row_sum
from linger_jax.numerics.chip_kernels.segment_tables import read
from linger_jax.targets import Platform, Softmax, SoftmaxDivision

_INT32 = np.iinfo(np.int32)
_ZERO = np.int64(0)
_FRACTION_BITS = 23
"""Q-format of the exponent and of the polynomial."""
_EXPONENT_SHIFT = 31
"""Q25 times log2(e) in Q29 down to Q23."""
_FINER_BITS = 30
"""Q-format of the last polynomial step where the powers are rounded once."""
_LEADING_BIT = np.int64(30)
_MANTISSA_BITS = np.int64(23)


@dataclasses.dataclass(frozen=True)
class _Constants:
    log2e: int
    polynomial: tuple[int, ...]
    reciprocal_start: int
    reciprocal_one: int
    numerator: int
    iterations: int
    newton_shift: int
    long_division_shift: int


def softmax(x: jax.Array, platform: Platform) -> jax.Array:
    """Softmax over the last axis as the chip computes it.

    Args:
      x: int32 array [..., n], Q25, n >= 1.
      platform: target chip.

    Returns:
      int32 array of x's shape, Q15, 0..32768 (a row of one element gives 32768).

    Raises:
      PlatformLimitError: the platform has no kernels.

    Source: docs/specification/chip_kernels.md sections 7 and 8: the integer definition on venus.
    """
    kernel = kernels_of(platform, "softmax").softmax
    d = differences(x, kernel)
    with int64.region():
        powers = lax.convert_element_type(exponentials(int64.of(d), kernel), jnp.int32)
        total = lax.min(row_sum(powers), np.int64(_INT32.max))
        return quotients(int64.of(powers), total, kernel.division)


def differences(x: jax.Array, kernel: Softmax) -> jax.Array:
    """Steps 1 and 2: x - max(x) along the last axis, saturated; int32 array, never above 0."""
    largest = row_maximum(x)
    if kernel.moves_least_maximum:
        largest = lax.max(largest, np.int32(_INT32.min + 1))
    wrapped = x - largest
    return jnp.where(wrapped > np.int32(0), np.int32(_INT32.min), wrapped)


def exponentials(d: jax.Array, kernel: Softmax) -> jax.Array:
    """Steps 3 to 6: 2^23 e^(d / 2^25) for int64 d in -2^31..0; int64 array, below 2^24. Inside ``int64.region()``."""
    constants = _constants()
    exponent = int64.round_shift_with_room(d * np.int64(constants.log2e), _EXPONENT_SHIFT)
    halvings = -int64.floor_shift(exponent, _FRACTION_BITS)  # 1 - E
    fraction = (exponent & np.int64(2**_FRACTION_BITS - 1)) - np.int64(2**_FRACTION_BITS)
    first, *middle, last = constants.polynomial
    y = jnp.full_like(fraction, first)
    for coefficient in middle:
        y = int64.round_shift_with_room(y * fraction, _FRACTION_BITS) + np.int64(coefficient)
    y = y * fraction
    if kernel.rounds_powers_once:
        finer = int64.shift_left(y, _FINER_BITS - _FRACTION_BITS) + np.int64(last << _FINER_BITS)
        return int64.round_shift_with_room(finer, halvings + np.int64(_FINER_BITS - 1))
    doubled = int64.shift_left(int64.round_shift_with_room(y, _FRACTION_BITS) + np.int64(last), 1)
    return int64.floor_shift(doubled, halvings)


def quotients(powers: jax.Array, total: jax.Array, division: SoftmaxDivision) -> jax.Array:
    """Step 8: powers / total in Q15.

    Args:
      powers: int64 array [..., n], 0 <= powers < 2^24.
      total: int64 array [..., 1], 1..2^31 - 1.
      division: how the chip divides.

    Returns:
      int32 array of powers' shape.
    """
    constants = _constants()
    match division:
        case SoftmaxDivision.newton:
            factor, shift = _newton_reciprocal(total), constants.newton_shift
        case SoftmaxDivision.long_division:
            factor, shift = _long_division(total), constants.long_division_shift
        case _:
            assert_never(division)
    return int64.narrow(int64.round_shift_with_room(factor * powers, shift))


def _long_division(total: jax.Array) -> jax.Array:
    """The quotient of 30 steps of compare, subtract and double: one bit a step, the last doubled too."""
    constants = _constants()
    numerator = jnp.full_like(total, constants.numerator << (constants.iterations - 1))
    return int64.shift_left(lax.div(numerator, total), 1)


def _newton_reciprocal(total: jax.Array) -> jax.Array:
    """Two Newton steps from a linear estimate."""
    constants = _constants()
    up = lax.clz(total) - (np.int64(63) - _LEADING_BIT) - (_LEADING_BIT + np.int64(1) - _MANTISSA_BITS)
    mantissa = _scaled(total, up)
    r = np.int64(constants.reciprocal_start) - mantissa
    for _ in range(2):
        product = int64.round_shift_with_room(mantissa * r, _FRACTION_BITS)
        error = int64.shift_left(np.int64(constants.reciprocal_one) - product, 1)
        r = r + int64.round_shift_with_room(r * error, _FRACTION_BITS)
    return int64.saturate(_scaled(r, up + np.int64(1)), 32)


def _scaled(v: jax.Array, up: jax.Array) -> jax.Array:
    """floor(v * 2^up)."""
    return int64.floor_shift(lax.shift_left(v, lax.max(up, _ZERO)), lax.max(-up, _ZERO))


@functools.cache
def _constants() -> _Constants:
    content = read("softmax")
    return _Constants(
        log2e=content["log2e_q29"],
        polynomial=tuple(content["poly_q23"]),
        reciprocal_start=content["venus_recip_start"],
        reciprocal_one=content["venus_recip_one"],
        numerator=content["arcs_div_numerator"],
        iterations=content["arcs_div_iterations"],
        newton_shift=content["venus_recip_final_shift"],
        long_division_shift=content["arcs_div_final_shift"],
    )
