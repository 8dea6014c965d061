"""Integers of up to 52 bits held in float64: the arithmetic of the recurrent cells.

A double adds, multiplies and rounds such integers exactly and in vector registers, where 64-bit integer products and
shifts of many processors are not. Everything here belongs inside a ``int64.region()`` block.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_HALF = np.float64(0.5)


def of(x: jax.Array) -> jax.Array:
    """float64 array of an int32 or float32 array's values."""
    return lax.convert_element_type(x, jnp.float64)


def rescale(v: jax.Array, factor: jax.Array | np.float64) -> jax.Array:
    """R(v, a, d) of docs/specification/recurrent.md section 3: floor(v * 2^(d-a) + 1/2).

    Args:
      v: float64 integers; where v * factor reaches 2^52 the result may be one off, which a saturation must cover.
      factor: 2^(d-a), float64, scalar or broadcastable to v; a left shift changes nothing but the format.

    Returns:
      float64 integers of v's shape.
    """
    return lax.floor(v * factor + _HALF)


def rescale_rounded(v: jax.Array, factor: jax.Array) -> jax.Array:
    """``rescale`` whose product is rounded to float64 on its own where it is not exact, fused into no sum."""
    product = v * factor
    return lax.floor(jnp.where(product == product, product, np.float64(np.nan)) + _HALF)


def round_shift(v: jax.Array, shift: int) -> jax.Array:
    """rs(v, s): floor(v / 2^s + 1/2) of float64 integers."""
    return v if shift == 0 else rescale(v, np.float64(2.0**-shift))


def saturate(v: jax.Array, bits: int) -> jax.Array:
    """sat_b(v): clamps float64 integers to [-2^(b-1), 2^(b-1) - 1]."""
    return lax.clamp(np.float64(-(2.0 ** (bits - 1))), v, np.float64(2.0 ** (bits - 1) - 1))


def to_int32(v: jax.Array) -> jax.Array:
    """int32 array of float64 integers that fit."""
    return lax.convert_element_type(v, jnp.int32)


def to_float32(v: jax.Array) -> jax.Array:
    """float32 array of float64 integers, rounded once, ties to even."""
    return lax.convert_element_type(v, jnp.float32)
