"""Clipping with a straight-through gradient inside the bound."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.numerics import clip_symmetric

_ZERO = np.float32(0.0)


def ste_clip(x: jax.Array, bound: jax.Array | float) -> jax.Array:
    """clip(x, -bound, bound) whose gradient passes where -bound <= x <= bound, ends included.

    Args:
      x: float32 array of any shape.
      bound: float32 scalar or Python number, not negative; receives no gradient.

    Returns:
      float32 array of ``x``'s shape; NaN stays NaN.

    Source: docs/specification/quantizers.md section 10, docs/specification/config.md section 5.
    """
    return _ste_clip(x, lax.stop_gradient(jnp.asarray(bound, jnp.float32)))


@jax.custom_vjp
def _ste_clip(x: jax.Array, bound: jax.Array) -> jax.Array:
    return clip_symmetric(x, bound)


def _forward(x: jax.Array, bound: jax.Array) -> tuple[jax.Array, jax.Array]:
    return _ste_clip(x, bound), (x >= -bound) & (x <= bound)


def _backward(inside: jax.Array, g: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jnp.where(inside, g, _ZERO), jnp.zeros((), jnp.float32)


_ste_clip.defvjp(_forward, _backward)
