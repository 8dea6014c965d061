"""Exact 64-bit integer arithmetic, whatever the user's x64 flag says.

The functions take and return int64 arrays and belong inside a ``with int64.region():`` block; values enter it with
``wide.of`` and leave it as int32 (``narrow``) or float32 (``to_float32``). Such a block survives jit, reverse mode
beside and inside custom derivatives, remat, scan, vmap and sharding, because a traced equation keeps its operands'
types: only operations that are traced outside a block fall back to 32 bits.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.compat import wide_types

_ONE = np.int64(1)
_ZERO = np.int64(0)
_WIDTH = 64


def region() -> AbstractContextManager[None]:
    """Block in which int64 arrays may be made and combined."""
    return wide_types()


def of(x: jax.Array) -> jax.Array:
    """int64 array of an integer array's values."""
    return lax.convert_element_type(x, jnp.int64)


def round_shift(v: jax.Array, shift: int | jax.Array) -> jax.Array:
    """rs(v, s): floor(v / 2^s + 1/2), halves go up, without overflowing the width of v.

    Args:
      v: int64 array.
      shift: a Python integer, or an integer array broadcastable to v's shape. 0 changes nothing, a negative shift is
        a left shift (bits beyond the width are lost), 64 and more give 0.

    Returns:
      int64 array of v's shape.

    Source: docs/specification/chip_kernels.md section 1.
    """
    if not isinstance(shift, int):
        return _traced_round_shift(v, jnp.broadcast_to(of(shift), v.shape))
    if shift <= 0:
        return shift_left(v, -shift)
    if shift >= _WIDTH:
        return jnp.zeros_like(v)
    doubled = floor_shift(v, shift - 1)
    return floor_shift(doubled, 1) + (doubled & _ONE)


def round_shift_with_room(v: jax.Array, shift: int | jax.Array) -> jax.Array:
    """``round_shift`` by one addition and one shift.

    Args:
      v: int64 array, |v| < 2^62.
      shift: a Python integer >= 1, or an int64 array of such, broadcastable to v's shape; more than 62 counts as 62.

    Returns:
      int64 array of v's shape.
    """
    most = _WIDTH - 2
    if isinstance(shift, int):
        return floor_shift(v + np.int64(2 ** (min(shift, most) - 1)), min(shift, most))
    shift = jnp.broadcast_to(lax.min(shift, np.int64(most)), v.shape)
    return lax.shift_right_arithmetic(v + lax.shift_left(jnp.full_like(v, 1), shift - _ONE), shift)


def floor_shift(v: jax.Array, shift: int | jax.Array) -> jax.Array:
    """floor(v / 2^s), the arithmetic right shift.

    Args:
      v: int64 array.
      shift: a Python integer >= 0, or an integer array of such, broadcastable to v's shape; 64 and more leave the
        sign: 0 or -1.

    Returns:
      int64 array of v's shape.
    """
    if isinstance(shift, int):
        return v if shift == 0 else lax.shift_right_arithmetic(v, jnp.full_like(v, min(shift, _WIDTH - 1)))
    return lax.shift_right_arithmetic(v, jnp.broadcast_to(lax.min(of(shift), np.int64(_WIDTH - 1)), v.shape))


def shift_left(v: jax.Array, shift: int) -> jax.Array:
    """v * 2^shift, shift >= 0; bits beyond the width are lost."""
    return v if shift == 0 else lax.shift_left(v, jnp.full_like(v, shift))


def saturate(v: jax.Array, bits: int) -> jax.Array:
    """sat_b(v): clamps int64 values to [-2^(b-1), 2^(b-1) - 1]."""
    return lax.clamp(np.int64(-(2 ** (bits - 1))), v, np.int64(2 ** (bits - 1) - 1))


def narrow(v: jax.Array) -> jax.Array:
    """int32 array of int64 values, saturated."""
    return lax.convert_element_type(saturate(v, 32), jnp.int32)


def to_float32(v: jax.Array) -> jax.Array:
    """float32 array of int64 values, rounded once, ties to even."""
    return lax.convert_element_type(v, jnp.float32)


def _traced_round_shift(v: jax.Array, shift: jax.Array) -> jax.Array:
    doubled = floor_shift(v, lax.max(shift - _ONE, _ZERO))
    right = floor_shift(doubled, 1) + (doubled & _ONE)
    left = lax.shift_left(v, lax.clamp(_ZERO, -shift, np.int64(_WIDTH - 1)))
    return jnp.where(shift > _ZERO, right, left)
