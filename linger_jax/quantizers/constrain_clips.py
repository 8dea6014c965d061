"""Clips of the constrain mode: by a fixed bound, or by a multiple of the mean magnitude.

Source: docs/specification/config.md section 5.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from linger_jax.quantizers.ste_clip import ste_clip


def static_clip(x: jax.Array, bound: float | None) -> jax.Array:
    """clip(x, -bound, bound), or ``x`` where the configuration sets no bound.

    Args:
      x: float32 array of any shape.
      bound: in float units, or None.

    Returns:
      float32 array of ``x``'s shape; the gradient passes where -bound <= x <= bound.
    """
    return x if bound is None else ste_clip(x, float(bound))


def dynamic_clip(weight: jax.Array, factor: float | None) -> jax.Array:
    """clip(w, -c, c) with c = min(factor * mean|w|, max|w|) over the whole tensor, or ``w`` where there is no factor.

    Args:
      weight: float32 array of any shape.
      factor: multiple of the mean magnitude, or None.

    Returns:
      float32 array of ``weight``'s shape; c carries no gradient.
    """
    if factor is None:
        return weight
    size = jnp.abs(weight)
    return ste_clip(weight, jax.lax.stop_gradient(jnp.minimum(jnp.float32(factor) * jnp.mean(size), jnp.max(size))))
