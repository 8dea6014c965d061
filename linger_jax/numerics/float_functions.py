"""Float functions to the last bit: computed in float64 and rounded once, the same on every device."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from linger_jax.compat import wide_types


def tanh(x: jax.Array) -> jax.Array:
    """Hyperbolic tangent of a float32 array, correctly rounded to float32 (but for double rounding)."""
    with wide_types():
        return lax.convert_element_type(lax.tanh(lax.convert_element_type(x, jnp.float64)), jnp.float32)


def sigmoid(x: jax.Array) -> jax.Array:
    """1 / (1 + e^-x) of a float32 array, correctly rounded to float32 (but for double rounding)."""
    with wide_types():
        return lax.convert_element_type(lax.logistic(lax.convert_element_type(x, jnp.float64)), jnp.float32)
