"""Maximum and sum along the last axis of integer arrays, in forms that compilers make fast code of.

A whole sum in 64 bits would have XLA keep every element in 64 bits too, in memory of its own.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from linger_jax.numerics import int64

_ELEMENT_BITS = 24
_LONGEST_BLOCK = 2 ** (32 - _ELEMENT_BITS)
_SHORTEST_BLOCK = 16
_WIDTH_LEFT = 16
"""XLA's CPU backend reduces an integer maximum one element at a time; halving a row first uses vectors."""


def row_maximum(x: jax.Array) -> jax.Array:
    """Largest element of each row.

    Args:
      x: integer array [..., n], n >= 1.

    Returns:
      Array [..., 1] of x's dtype.
    """
    return lax.platform_dependent(x, cpu=_maximum_by_halves, default=_maximum)


def row_sum(x: jax.Array) -> jax.Array:
    """Exact sum of each row: short blocks in 32 bits, their sums in 64. Inside ``int64.region()``.

    Args:
      x: int32 array [..., n], 0 <= x < 2^24.

    Returns:
      int64 array [..., 1].
    """
    n = x.shape[-1]
    block = max(size for size in range(1, min(n, _LONGEST_BLOCK) + 1) if n % size == 0)
    if block < min(n, _SHORTEST_BLOCK):
        return jnp.sum(int64.of(x), axis=-1, keepdims=True)
    blocks = lax.convert_element_type(x, jnp.uint32).reshape(*x.shape[:-1], n // block, block)
    return jnp.sum(int64.of(jnp.sum(blocks, axis=-1, dtype=jnp.uint32)), axis=-1, keepdims=True)


def _maximum(x: jax.Array) -> jax.Array:
    return jnp.max(x, axis=-1, keepdims=True)


def _maximum_by_halves(x: jax.Array) -> jax.Array:
    """Lays the two halves of each row over each other, which meet in the middle of an odd one."""
    while (n := x.shape[-1]) > _WIDTH_LEFT:
        half = (n + 1) // 2
        x = lax.max(x[..., :half], x[..., n - half :])
    return _maximum(x)
