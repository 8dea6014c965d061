"""Converts grid values to the integers that the chip's function kernels read, and their results back.

Source: docs/specification/chip_kernels.md section 9.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.config import RoundMode
from linger_jax.numerics.rounding import round_half_up, round_scaled

_ONE = np.float32(1.0)


def fixed_scale(bits: int) -> float:
    """Scale of sigmoid and tanh results of a width: 2^(bits - 1), since they lie in -1..1.

    Source: docs/specification/ops.md section 5.
    """
    return float(2.0 ** (bits - 1))


def steps_to_fixed_point(x: jax.Array, scale: jax.Array, fraction_bits: int, mode: RoundMode) -> jax.Array:
    """Grid values as multiples of 2^-fraction_bits.

    Args:
      x: float32 array on the grid of ``scale`` (or nearly: it is rounded to that grid first).
      scale: float32 scalar, a power of two.
      fraction_bits: Q-format of the kernel's input.
      mode: rounding mode of the input quantizer.

    Returns:
      float32 array of whole numbers, not saturated.
    """
    steps = round_scaled(x, scale, mode)
    factor = np.float32(2.0**fraction_bits) / scale
    scaled = steps * factor
    return jnp.where(factor <= _ONE, round_half_up(scaled), scaled)


def values_to_fixed_point(x: jax.Array, fraction_bits: int) -> jax.Array:
    """Float values as multiples of 2^-fraction_bits, half up, the addition in float32 (softmax).

    Args:
      x: float32 array.
      fraction_bits: Q-format of the kernel's input.

    Returns:
      float32 array of whole numbers, not saturated.
    """
    return round_half_up(x * np.float32(2.0**fraction_bits))


def from_fixed_point(y: jax.Array, fraction_bits: int) -> jax.Array:
    """y / 2^fraction_bits, y rounded to float32 first.

    Args:
      y: int32 array.
      fraction_bits: its Q-format.

    Returns:
      float32 array.
    """
    return lax.convert_element_type(y, jnp.float32) * np.float32(2.0**-fraction_bits)
