"""A bias in integers: on the grid of the products, and how fine that grid may be."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.numerics.chip_kernels import saturated_int32
from linger_jax.numerics.scale_rule import LARGEST_EXPONENT, exponent_of_power_of_two, power_of_two


def largest_weight_scale(bias: jax.Array, unit: jax.Array, bits: int, *, spare_bits: int) -> jax.Array:
    """The largest 2^n, n in 0..23, with max |bias| * unit * 2^n < 2^(bits - 1 - spare_bits).

    Args:
      bias: float32 array of any shape, not empty; real numbers.
      unit: float32 scalar, a power of two: integer steps per unit of what the weight multiplies.
      bits: width of the bias.
      spare_bits: bits of it that stay free.

    Returns:
      float32 scalar; 1 where no scale is small enough.

    Source: docs/decisions.md D27.
    """
    largest = jnp.max(lax.abs(lax.stop_gradient(bias)))
    # The exponent field says between which powers of two a number lies, whether it is one or not.
    taken = exponent_of_power_of_two(largest) + exponent_of_power_of_two(lax.stop_gradient(unit)) + np.int32(1)
    exponent = np.int32(bits - 1 - spare_bits) - taken
    return power_of_two(lax.clamp(np.int32(0), exponent, np.int32(LARGEST_EXPONENT)))


def bias_steps(bias: jax.Array, scale: jax.Array, bits: int) -> jax.Array:
    """The integers of a quantized bias on the grid of the products that it is added to.

    It lies on that grid, but where the largest scale 2^23 of a quantizer or a later change of the input's scale keeps
    it on another; where its own grid is finer it is rounded down.

    Args:
      bias: float32, as its quantizer returned it.
      scale: float32 scalar, a power of two, steps per unit of the products.
      bits: width; beyond it saturates.

    Returns:
      int32 of ``bias``'s shape.

    Source: docs/decisions.md D27.
    """
    low, high = np.float32(-(2.0 ** (bits - 1))), np.float32(2.0 ** (bits - 1) - 1)
    return saturated_int32(lax.clamp(low, lax.floor(lax.stop_gradient(bias) * scale), high))
