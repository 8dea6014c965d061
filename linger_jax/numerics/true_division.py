"""Division that stays a division.

XLA replaces a quotient by a constant or by a scalar with a product by the rounded reciprocal, inside and outside
``jit``; the last bit then differs from IEEE division. It divides by an array of divisors that it cannot see through.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt


def true_quotient(numerator: jax.Array, divisor: npt.NDArray[np.floating] | np.floating) -> jax.Array:
    """numerator / divisor with one rounding.

    Args:
      numerator: float32 or float64 array of any shape (float64 inside a ``jax.enable_x64`` region).
      divisor: host value of the same dtype, broadcastable to ``numerator``'s shape.

    Returns:
      Array of ``numerator``'s shape and dtype; NaN where the numerator is NaN.
    """
    return numerator / jnp.where(numerator == numerator, divisor, np.asarray(np.nan, divisor.dtype))


def true_reciprocal(divisor: jax.Array) -> jax.Array:
    """1 / divisor with one rounding, of a square root too: XLA makes an approximate reciprocal square root of the two.

    Args:
      divisor: float32 array of any shape.

    Returns:
      float32 array of ``divisor``'s shape.
    """
    return jnp.where(divisor == divisor, np.float32(1), np.float32(np.nan)) / divisor
