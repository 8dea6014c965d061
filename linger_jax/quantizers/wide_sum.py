"""Sums over all batches of a calibration: float64 numbers that are carried from batch to batch as two of float32.

Arrays of float64 do not leave a compiled function. Two float32 numbers hold 48 bits, so a count is exact up to 2^48.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import lax


def no_sum(*shape: int) -> npt.NDArray[np.float32]:
    """The sums of nothing: float32 [2, *shape]."""
    return np.zeros((2, *shape), np.float32)


def as_one(sums: jax.Array) -> jax.Array:
    """float32 [2, ...] as float64 [...]; inside ``wide_types``."""
    return lax.convert_element_type(sums[0], jnp.float64) + lax.convert_element_type(sums[1], jnp.float64)


def as_two(sums: jax.Array) -> jax.Array:
    """float64 [...] as float32 [2, ...]; inside ``wide_types``."""
    coarse = lax.convert_element_type(sums, jnp.float32)
    return jnp.stack(
        [coarse, lax.convert_element_type(sums - lax.convert_element_type(coarse, jnp.float64), jnp.float32)]
    )
