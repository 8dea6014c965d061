"""Clipping that leaves every bit of what it does not cut."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_INT32 = np.iinfo(np.int32)
_BEYOND = np.float32(2.0**31)


def clip_symmetric(x: jax.Array, bound: jax.Array | np.float32) -> jax.Array:
    """clip(x, -bound, bound) by selection: denormals survive where the hardware's minimum and maximum flush them.

    Args:
      x: float32 array of any shape.
      bound: float32 scalar, not negative; infinite cuts nothing.

    Returns:
      float32 array of ``x``'s shape; NaN stays NaN.
    """
    return jnp.where(lax.abs(x) > bound, jnp.copysign(bound, x), x)


def saturated_int32(v: jax.Array) -> jax.Array:
    """int32 of whole float32 values, saturated (docs/codes.md K2); NaN gives 0."""
    fits = lax.abs(v) < _BEYOND
    whole = lax.convert_element_type(jnp.where(fits, v, np.float32(0)), jnp.int32)
    above = jnp.where(v >= _BEYOND, np.int32(_INT32.max), whole)
    return jnp.where(v <= -_BEYOND, np.int32(_INT32.min), above)
