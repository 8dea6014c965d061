"""Clipping that leaves every bit of what it does not cut."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def clip_symmetric(x: jax.Array, bound: jax.Array | np.float32) -> jax.Array:
    """clip(x, -bound, bound) by selection: denormals survive where the hardware's minimum and maximum flush them.

    Args:
      x: float32 array of any shape.
      bound: float32 scalar, not negative; infinite cuts nothing.

    Returns:
      float32 array of ``x``'s shape; NaN stays NaN.
    """
    return jnp.where(lax.abs(x) > bound, jnp.copysign(bound, x), x)
