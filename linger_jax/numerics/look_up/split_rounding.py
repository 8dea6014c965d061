"""Rounding numbers that are the sum of two float32 numbers: as exact as 48 bits, in float32 alone."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.config import RoundMode

_ZERO, _ONE, _HALF = (np.float32(v) for v in (0, 1, 0.5))
_WHOLE = np.float32(2.0**23)
"""From here on every float32 number is whole."""


def round_split(high: jax.Array, low: jax.Array, scale: jax.Array, mode: RoundMode) -> jax.Array:
    """Rounds (high + low) * scale to integers, once and exactly.

    ``floor_add`` is floor(v + 1/2) of the exact number v, ``floor`` is floor(v), ``round`` takes the even neighbour
    of a tie. (``round_scaled`` rounds the sum with 1/2 to float32 first, as linger does.)

    Args:
      high: float32 of any shape, infinities and NaN among them; not a denormal.
      low: float32 of the same shape, at most half a unit in the last place of ``high``; 0 where that is not finite.
      scale: float32 scalar, a power of two from 1 to 2^23.
      mode: rounding mode; ``RoundMode.ceil`` computes as ``RoundMode.round``.

    Returns:
      float32 of the same shape, not saturated; what passes 2^23 is ``high * scale``. Infinities and NaN pass through.
    """
    scaled, rest = high * scale, low * scale
    has_fraction = lax.abs(scaled) < _WHOLE
    number = jnp.where(has_fraction, scaled, _ZERO)
    even = lax.round(number, lax.RoundingMethod.TO_NEAREST_EVEN)
    left = number - even  # exact, a multiple of the last place; only where it is a tie or nothing the rest decides
    match mode:
        case RoundMode.floor_add:
            up, down = (left == _HALF) & (rest >= _ZERO), (left == -_HALF) & (rest < _ZERO)
        case RoundMode.floor:
            up, down = jnp.zeros_like(has_fraction), (left < _ZERO) | ((left == _ZERO) & (rest < _ZERO))
        case RoundMode.round | RoundMode.ceil:
            up, down = (left == _HALF) & (rest > _ZERO), (left == -_HALF) & (rest < _ZERO)
    nearest = even + jnp.where(up, _ONE, _ZERO) - jnp.where(down, _ONE, _ZERO)
    return jnp.where(has_fraction, jnp.where(nearest == _ZERO, _ZERO, nearest), scaled)
