"""Softmax: powers of two by a polynomial, their sum, and a division of the chip's own."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.config import Platform
from linger_jax.numerics import wide
from linger_jax.numerics.chip_kernels.platforms import table_owner, with_kernels
from linger_jax.numerics.chip_kernels.tables import read

_INT32 = np.iinfo(np.int32)
_ZERO = np.int64(0)
_ONE = np.int64(1)
_FRACTION_BITS = 23
"""Q-format of the exponent and of the polynomial."""
_EXPONENT_SHIFT = 31
"""Q25 times log2(e) in Q29 down to Q23."""


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

    Source: spec chip_kernels.md section 7; section 8 (K3): the integer definition on venus.
    """
    owner = table_owner(with_kernels(platform, "softmax"))
    with wide.region():
        powers = exponentials(differences(x, owner), owner)
        total = lax.min(jnp.sum(powers, axis=-1, keepdims=True), np.int64(_INT32.max))
        return quotients(powers, total, owner)


def differences(x: jax.Array, owner: Platform) -> jax.Array:
    """Step 1 and 2: x - max(x) along the last axis, saturated; int64 array."""
    v = wide.of(x)
    largest = jnp.max(v, axis=-1, keepdims=True)
    if owner is Platform.venusA:
        largest = lax.max(largest, np.int64(_INT32.min + 1))
    return wide.saturate(v - largest, 32)


def exponentials(d: jax.Array, owner: Platform) -> jax.Array:
    """Steps 3 to 6: 2^23 e^(d / 2^25) for d <= 0 (d = 1 is possible on venusA); int64 array."""
    constants = _constants(owner)
    exponent = wide.round_shift(d * np.int64(constants.log2e), _EXPONENT_SHIFT)
    whole = wide.floor_shift(exponent, _FRACTION_BITS) + _ONE
    fraction = (exponent & np.int64(2**_FRACTION_BITS - 1)) - np.int64(2**_FRACTION_BITS)
    first, *middle, last = constants.polynomial
    y = jnp.full_like(fraction, first)
    for coefficient in middle:
        y = wide.round_shift(y * fraction, _FRACTION_BITS) + np.int64(coefficient)
    if owner is Platform.venusA:
        return _scaled_once(y * fraction, whole, last)
    y = wide.round_shift(y * fraction, _FRACTION_BITS) + np.int64(last)
    down = lax.max(-whole, _ZERO)
    return jnp.where(whole > _ZERO, y + y, wide.floor_shift(y, down))


def _scaled_once(product: jax.Array, whole: jax.Array, last: int) -> jax.Array:
    """The last polynomial step of venusA: one rounding for the step and the scaling."""
    seven, thirty = 7, np.int64(30)
    sum_q53 = wide.round_shift(product, -seven) + np.int64(last) * np.int64(2**30)
    shift = thirty - whole
    return jnp.where(shift > np.int64(63), _ZERO, wide.round_shift(sum_q53, shift))


def quotients(powers: jax.Array, total: jax.Array, owner: Platform) -> jax.Array:
    """Step 8: powers / total in Q15; int32 array of powers' shape. `total` is int64 [..., 1], 1..2^31 - 1."""
    shift = _constants(owner).final_shift
    if owner is Platform.venus:
        return wide.narrow(wide.round_shift(_venus_reciprocal(total) * powers, shift))
    return lax.convert_element_type(wide.round_shift(_long_division(total, owner) * powers, shift), jnp.int32)


def _long_division(total: jax.Array, owner: Platform) -> jax.Array:
    """2^23 * 2^30 / total by 30 steps of compare and subtract."""
    constants = _constants(owner)

    def step(_: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        quotient, rest = carry
        fits = rest >= total
        quotient = quotient + lax.convert_element_type(fits, jnp.int64)
        rest = jnp.where(fits, rest - total, rest)
        return quotient + quotient, rest + rest

    start = jnp.zeros_like(total), jnp.full_like(total, constants.numerator)
    return lax.fori_loop(0, constants.iterations, step, start)[0]


def _venus_reciprocal(total: jax.Array) -> jax.Array:
    """Two Newton steps from a linear estimate."""
    constants = _constants(Platform.venus)
    up = lax.clz(total) - np.int64(33) - np.int64(8)
    mantissa = _shifted(total, up)
    r = np.int64(constants.reciprocal_start) - mantissa
    for _ in range(2):
        product = wide.round_shift(mantissa * r, _FRACTION_BITS)
        error = np.int64(2) * (np.int64(constants.reciprocal_one) - product)
        r = r + wide.round_shift(r * error, _FRACTION_BITS)
    return wide.saturate(_shifted(r, up + _ONE), 32)


def _shifted(v: jax.Array, up: jax.Array) -> jax.Array:
    left = lax.shift_left(v, lax.max(up, _ZERO))
    return jnp.where(up >= _ZERO, left, wide.floor_shift(v, lax.max(-up, _ZERO)))


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
