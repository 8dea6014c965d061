"""Channel sums of quantized values that come out the same in any order, on one device or many.

Values on a grid are integers in disguise: as long as every partial sum fits the significand, floating-point addition is
exact and order does not exist. A first stage sums short stretches in float32, a second stage the results in float64.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.compat import wide_types
from linger_jax.numerics.products import rounded_product
from linger_jax.numerics.true_division import true_quotient

_FLOAT32_SIGNIFICAND = 24
_SHORT = 4
"""Stretches shorter than this are not worth a stage of their own."""


def channel_moments(
    x: jax.Array, scale: jax.Array, axes: tuple[int, ...], *, bits: int = 16
) -> tuple[jax.Array, jax.Array]:
    """Mean and mean of squares over some axes, each the exact value rounded once to float32.

    Args:
      x: float32 array; x * scale are integers of ``bits`` bits. Up to 2^53 / 4^(bits-1) elements a channel (2^23 for 16
        bits) keep all sums exact.
      scale: float32 scalar, a power of two: integer steps per unit.
      axes: axes to reduce, not negative.
      bits: width of the integers, at most 24; fewer bits are faster.

    Returns:
      mean, mean_of_squares: float32 arrays of the remaining axes. Differentiable in ``x`` in reverse mode:
      d mean / dx = 1/n, d mean_of_squares / dx = 2x/n.

    Source: docs/specification/layers.md section 4, docs/decisions.md D17 (statistics do not depend on the number of
      devices).
    """
    return _moments(tuple(sorted(axes)), bits, x, lax.stop_gradient(scale))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _moments(axes: tuple[int, ...], bits: int, x: jax.Array, scale: jax.Array) -> tuple[jax.Array, jax.Array]:
    step_bits = bits - 1
    return _mean(x, scale, axes, step_bits), _mean_of_squares(x, scale, axes, step_bits)


def _forward(
    axes: tuple[int, ...], bits: int, x: jax.Array, scale: jax.Array
) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
    return _moments(axes, bits, x, scale), x


def _backward(
    axes: tuple[int, ...], bits: int, x: jax.Array, cotangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    del bits
    each = np.float32(1.0 / _count(x, axes))
    of_mean, of_squares = (lax.expand_dims(g * each, axes) for g in cotangents)
    return of_mean + rounded_product(x, np.float32(2.0) * of_squares), jnp.zeros((), jnp.float32)


_moments.defvjp(_forward, _backward)


def _mean(x: jax.Array, scale: jax.Array, axes: tuple[int, ...], magnitude_bits: int) -> jax.Array:
    partial, left = _sum_short_stretches(x, axes, magnitude_bits)
    with wide_types():
        steps = lax.convert_element_type(scale, jnp.float64)
        total = jnp.sum(lax.convert_element_type(partial, jnp.float64), left)
        return _quotient(total * steps, _count(x, axes), steps)


def _mean_of_squares(x: jax.Array, scale: jax.Array, axes: tuple[int, ...], magnitude_bits: int) -> jax.Array:
    if _FLOAT32_SIGNIFICAND - 2 * magnitude_bits > 1:
        partial, left = _sum_short_stretches(x * x, axes, 2 * magnitude_bits)
        with wide_types():
            total = jnp.sum(lax.convert_element_type(partial, jnp.float64), left)
    else:
        with wide_types():
            wide = lax.convert_element_type(x, jnp.float64)
            total = jnp.sum(wide * wide, axes)
    with wide_types():
        steps = lax.convert_element_type(scale, jnp.float64)
        squared_steps = steps * steps
        return _quotient(total * squared_steps, _count(x, axes), squared_steps)


def _sum_short_stretches(x: jax.Array, axes: tuple[int, ...], magnitude_bits: int) -> tuple[jax.Array, tuple[int, ...]]:
    """Sum over the trailing axes that keep a float32 sum exact; the axes that are left, as numbered afterwards."""
    room = 2 ** max(_FLOAT32_SIGNIFICAND - magnitude_bits, 0)
    taken: tuple[int, ...] = ()
    for axis in reversed(axes):
        if math.prod(x.shape[a] for a in taken) * x.shape[axis] <= room:
            taken = (axis, *taken)
    if math.prod(x.shape[axis] for axis in taken) < _SHORT:
        taken = ()
    left = tuple(axis - sum(t < axis for t in taken) for axis in axes if axis not in taken)
    return (jnp.sum(x, taken) if taken else x), left


def _quotient(total: jax.Array, count: int, unit: jax.Array) -> jax.Array:
    """f32(total / count / unit) for an exact integer total, correctly rounded.

    float64 suffices: a quotient of a 54-bit integer by at most 2^24 is never closer to the middle of two float32
    numbers than 2^-49 of its size, unless it is that middle.
    """
    return lax.convert_element_type(true_quotient(total, np.float64(count)) / unit, jnp.float32)


def _count(x: jax.Array, axes: tuple[int, ...]) -> int:
    return math.prod(x.shape[axis] for axis in axes)
