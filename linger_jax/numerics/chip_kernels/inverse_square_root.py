"""The inverse square root of the integer LayerNorm, and the normalization that uses it."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import lax

from linger_jax.numerics import int64
from linger_jax.numerics.chip_kernels.segment_tables import Ints, read

_FIRST_MANTISSA = 256
_MANTISSA_SHIFT = 8
_HIGHEST_BIT = np.int64(63)
_EXPONENTS = 31
_FACTOR_BITS = 16


def inverse_square_root(d: jax.Array) -> tuple[jax.Array, jax.Array]:
    """r and k with r / 2^15 / 2^k close to 1 / sqrt(d): a table over the leading bits. Inside ``int64.region()``.

    Args:
      d: int64 array of any shape, 0 <= d < 2^62. 0 gives r = 32767, k = 0.

    Returns:
      r: int64 array of d's shape, Q15, 16392..32767.
      k: int64 array of d's shape, 0..30.

    Source: docs/specification/layers.md section 6, step 4.
    """
    zero = np.int64(0)
    position, k = _position(d)
    r = jnp.take(jnp.asarray(_table()), lax.convert_element_type(position, jnp.int32), mode="clip")
    return jnp.where(d == zero, _table()[0], r), jnp.where(d == zero, zero, k)


def doubling_factor(d: jax.Array) -> tuple[jax.Array, jax.Array]:
    """f and s with f / 2^s twice r / 2^k of ``inverse_square_root``, exactly. Inside ``int64.region()``.

    Both come out of one look-up: what a compiler finds after it is cheap enough to be done again for each element of
    a row, the search for the leading bits is not.

    Args:
      d: int64 array of any shape, 0 <= d < 2^62.

    Returns:
      f: int32 array of d's shape, below 2^16.
      s: int32 array of d's shape, 0..29.
    """
    position, k = _position(d)
    entries = np.int64(_table().size)
    index = jnp.where(d == np.int64(0), np.int64(_doubling_table().size - 1), k * entries + position)
    found = jnp.take(jnp.asarray(_doubling_table()), lax.convert_element_type(index, jnp.int32), mode="clip")
    return found & np.int32(2**_FACTOR_BITS - 1), lax.shift_right_logical(found, jnp.full_like(found, _FACTOR_BITS))


def _position(d: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Index into the table, and k; int64. 0 is taken for 1."""
    zero = np.int64(0)
    some = lax.max(d, np.int64(1))
    k = int64.floor_shift(_HIGHEST_BIT - lax.clz(some), 1)
    mantissa = int64.floor_shift(
        lax.shift_left(some, lax.max(np.int64(_MANTISSA_SHIFT) - np.int64(2) * k, zero)),
        lax.max(np.int64(2) * k - np.int64(_MANTISSA_SHIFT), zero),
    )
    return mantissa - np.int64(_FIRST_MANTISSA), k


def normalized(numerator: jax.Array, d: jax.Array) -> jax.Array:
    """numerator / sqrt(d) in Q15, saturated to int32. Inside ``int64.region()``.

    Args:
      numerator: int32 array, N * x - sum(x) of LayerNorm.
      d: int64 array broadcastable to numerator's shape, 0 <= d < 2^62.

    Returns:
      int32 array of numerator's shape.

    Source: docs/specification/layers.md section 6, steps 4 and 5.
    """
    r, k = inverse_square_root(d)
    shape = jnp.broadcast_shapes(numerator.shape, d.shape)
    product = jnp.broadcast_to(int64.of(numerator), shape) * jnp.broadcast_to(r, shape)
    return int64.narrow(int64.round_shift(product, jnp.broadcast_to(k, shape)))


@functools.cache
def _table() -> Ints:
    return np.array(read("rsqrt_q15")["table"], np.int64)


@functools.cache
def _doubling_table() -> npt.NDArray[np.int32]:
    """Factor and shift of every k and position, packed; the last entry is that of 0."""
    factors = np.tile(_table(), (_EXPONENTS, 1))
    factors[0] *= 2
    shifts = np.maximum(np.arange(_EXPONENTS) - 1, 0)[:, None]
    packed = (shifts << _FACTOR_BITS) + factors
    return np.append(packed.ravel(), 2 * _table()[0]).astype(np.int32)
