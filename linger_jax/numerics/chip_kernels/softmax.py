"""Softmax: powers of two by a polynomial, their sum, and a division of the chip's own."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.config import Platform
from linger_jax.numerics import int64
from linger_jax.numerics.chip_kernels.kernel_table import table_owner, with_kernels
from linger_jax.numerics.chip_kernels.row_reductions import row_maximum, row_sum
from linger_jax.numerics.chip_kernels.segment_tables import read

_INT32 = np.iinfo(np.int32)
_ZERO = np.int64(0)
_FRACTION_BITS = 23
"""Q-format of the exponent and of the polynomial."""
_EXPONENT_SHIFT = 31
"""Q25 times log2(e) in Q29 down to Q23."""
_FINER_BITS = 30
"""Fraction bits that venusA adds to the polynomial's before its one rounding."""
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
    final_shift: int


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
    owner = table_owner(with_kernels(platform, "softmax"))
    d = differences(x, owner)
    with int64.region():
        powers = lax.convert_element_type(exponentials(int64.of(d), owner), jnp.int32)
        total = lax.min(row_sum(powers), np.int64(_INT32.max))
        return quotients(int64.of(powers), total, owner)


def differences(x: jax.Array, owner: Platform) -> jax.Array:
    """Steps 1 and 2: x - max(x) along the last axis, saturated; int32 array, never above 0."""
    largest = row_maximum(x)
    if owner is Platform.venusA:
        largest = lax.max(largest, np.int32(_INT32.min + 1))
    wrapped = x - largest
    return jnp.where(wrapped > np.int32(0), np.int32(_INT32.min), wrapped)


def exponentials(d: jax.Array, owner: Platform) -> jax.Array:
    """Steps 3 to 6: 2^23 e^(d / 2^25) for int64 d in -2^31..0; int64 array, below 2^24. Inside `wide.region()`."""
    constants = _constants(owner)
    exponent = int64.round_shift_with_room(d * np.int64(constants.log2e), _EXPONENT_SHIFT)
    halvings = -int64.floor_shift(exponent, _FRACTION_BITS)  # 1 - E
    fraction = (exponent & np.int64(2**_FRACTION_BITS - 1)) - np.int64(2**_FRACTION_BITS)
    first, *middle, last = constants.polynomial
    y = jnp.full_like(fraction, first)
    for coefficient in middle:
        y = int64.round_shift_with_room(y * fraction, _FRACTION_BITS) + np.int64(coefficient)
    y = y * fraction
    if owner is Platform.venusA:
        finer = int64.shift_left(y, _FINER_BITS - _FRACTION_BITS) + np.int64(last << _FINER_BITS)
        return int64.round_shift_with_room(finer, halvings + np.int64(_FINER_BITS - 1))
    doubled = int64.shift_left(int64.round_shift_with_room(y, _FRACTION_BITS) + np.int64(last), 1)
    return int64.floor_shift(doubled, halvings)


def quotients(powers: jax.Array, total: jax.Array, owner: Platform) -> jax.Array:
    """Step 8: powers / total in Q15.

    Args:
        powers: int64 array [..., n], 0 <= powers < 2^24.
        total: int64 array [..., 1], 1..2^31 - 1.
        owner: venus, arcs or venusA.

    Returns:
        int32 array of powers' shape.
    """
    factor = _newton_reciprocal(total) if owner is Platform.venus else _long_division(total)
    return int64.narrow(int64.round_shift_with_room(factor * powers, _constants(owner).final_shift))


def _long_division(total: jax.Array) -> jax.Array:
    """The quotient of 30 steps of compare, subtract and double: one bit a step, the last doubled too."""
    constants = _constants(Platform.arcs)
    numerator = jnp.full_like(total, constants.numerator << (constants.iterations - 1))
    return int64.shift_left(lax.div(numerator, total), 1)


def _newton_reciprocal(total: jax.Array) -> jax.Array:
    """Two Newton steps from a linear estimate."""
    constants = _constants(Platform.venus)
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
def _constants(owner: Platform) -> _Constants:
    content = read("softmax")
    return _Constants(
        log2e=content["log2e_q29"],
        polynomial=tuple(content["poly_q23"]),
        reciprocal_start=content["venus_recip_start"],
        reciprocal_one=content["venus_recip_one"],
        numerator=content["arcs_div_numerator"],
        iterations=content["arcs_div_iterations"],
        final_shift=content["final_shift"][owner],
    )
