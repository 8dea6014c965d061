"""Rounding of scaled values to integers, with the zero and denormal behaviour of the reference.

XLA flushes float32 denormals to zero on CPU, so rounding down must look at the bit pattern of its operand; and a
result of -0 would leak into outputs that are compared bit for bit. Both are settled here.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.config import RoundMode

_HALF = np.float32(0.5)
_ZERO = np.float32(0.0)
_MINUS_ONE = np.float32(-1.0)
_NEGATIVE_ZERO_PATTERN = np.int32(-(2**31))
_LARGEST_NEGATIVE_DENORMAL_PATTERN = np.int32(-(2**31) + 2**23 - 1)


def round_half_even(v: jax.Array) -> jax.Array:
    """Nearest integer, ties to the even neighbour; a zero result is +0.

    Args:
      v: float array of any shape.

    Returns:
      Array of ``v``'s shape and dtype. NaN and infinities pass through.

    Source: docs/specification/quantizers.md section 1.
    """
    return _positive_zero(lax.round(v, lax.RoundingMethod.TO_NEAREST_EVEN))


def round_half_up(v: jax.Array) -> jax.Array:
    """floor(v + 0.5) with the addition rounded to ``v``'s precision (``floor_add``).

    In float32 0.49999997 gives 1, and odd integers of magnitude 2^23..2^24 move to the next even integer.
    The result is never -0, because a sum of +0.5 and anything is not.

    Args:
      v: float32 array of any shape.

    Returns:
      Array of ``v``'s shape and dtype. NaN and infinities pass through.

    Source: docs/specification/quantizers.md section 1.
    """
    return lax.floor(v + _HALF)


def round_down(v: jax.Array) -> jax.Array:
    """floor(v); a zero result is +0.

    Args:
      v: float array of any shape.

    Returns:
      Array of ``v``'s shape and dtype. NaN and infinities pass through.

    Source: docs/specification/quantizers.md section 1.
    """
    return _positive_zero(lax.floor(v))


def round_scaled(x: jax.Array, scale: jax.Array, mode: RoundMode) -> jax.Array:
    """Round x * scale, scale >= 1 a power of two, to integers kept in float32.

    Args:
      x: float32 array of any shape.
      scale: float32 scalar.
      mode: rounding mode; ``RoundMode.ceil`` computes as ``RoundMode.round``, which is what the reference does for it.

    Returns:
      float32 array of ``x``'s shape, zeros positive, not saturated.

    Source: docs/specification/quantizers.md section 1.
    """
    v = x * scale
    match mode:
        case RoundMode.floor_add:
            return round_half_up(v)
        case RoundMode.floor:
            return jnp.where(_is_negative_denormal(x), _MINUS_ONE, round_down(v))
        case RoundMode.round | RoundMode.ceil:
            return round_half_even(v)


def _positive_zero(r: jax.Array) -> jax.Array:
    return jnp.where(r == _ZERO, _ZERO, r)


def _is_negative_denormal(v: jax.Array) -> jax.Array:
    pattern = lax.bitcast_convert_type(v, jnp.int32)
    return (pattern > _NEGATIVE_ZERO_PATTERN) & (pattern <= _LARGEST_NEGATIVE_DENORMAL_PATTERN)
