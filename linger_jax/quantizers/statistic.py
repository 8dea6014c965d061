"""The MOM statistic: the largest magnitude of a tensor and its moving average."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.config import ActivationType
from linger_jax.errors import LingerError
from linger_jax.numerics import SMALLEST_STATISTIC

_KEEP = np.float32(0.9)
_TAKE = np.float32(0.1)
_SMALLEST_NORMAL = np.finfo(np.float32).tiny
_LARGEST_FLOAT32 = np.finfo(np.float32).max
_NAN = np.float32(np.nan)


def largest_value(
    x: jax.Array, activation_type: ActivationType, clip: float | None = None, *, finite: bool = False
) -> jax.Array:
    """max |x| over the whole tensor (max x when a ReLU follows), at least 1e-6.

    The magnitude is found as max(max x, -min x), and NaN by the sum of squares, which is NaN exactly when an entry is:
    XLA's CPU backend runs these three plain reductions at memory speed but drops NaN from a maximum.

    Args:
      x: float32 array, not empty. With data parallel sharding the result is that of the global tensor.
      activation_type: ``Relu`` takes the largest value instead of the largest magnitude.
      clip: the result is that of clip(x, -clip, clip).
      finite: an infinity counts as the largest float32 number.

    Returns:
      float32 scalar without gradient; NaN if ``x`` holds a NaN, infinite if it holds an infinity of a sign that counts
      and ``finite`` is not set.

    Raises:
      LingerError: ``x`` is empty.

    Source: docs/specification/quantizers.md sections 3.1 and 10.
    """
    if x.size == 0:
        raise LingerError(
            f"cannot take the statistic of an empty tensor of shape {x.shape}: "
            "give the layer at least one element, or keep empty batches out of training and calibration"
        )
    x = lax.stop_gradient(x)
    largest = jnp.max(x)
    if activation_type is not ActivationType.Relu:
        largest = lax.max(largest, -jnp.min(x))
    bound = clip if clip is not None else _LARGEST_FLOAT32 if finite else None
    if bound is not None:
        largest = lax.min(largest, np.float32(bound))
    squares = jnp.sum(x * x)
    return jnp.where(squares == squares, lax.max(largest, SMALLEST_STATISTIC), _NAN)


def largest_magnitude(x: jax.Array) -> jax.Array:
    """max |x| over the whole tensor, by one reduction of whole numbers: magnitudes are ordered as their bits are.

    Args:
      x: float32 array, not empty.

    Returns:
      float32 scalar without gradient; NaN if there is one, else infinite if there is an infinity.
    """
    pattern = lax.bitcast_convert_type(lax.abs(lax.stop_gradient(x)), jnp.int32)
    return lax.bitcast_convert_type(jnp.max(pattern), jnp.float32)


def with_largest(x: jax.Array, largest: jax.Array) -> jax.Array:
    """The largest magnitudes of some tensors, and of one more.

    Args:
      x: float32 array of any shape, finite.
      largest: float32 [k] of the others, falling; -1 where they have fewer than k values.

    Returns:
      float32 [k].
    """
    count = largest.shape[0]
    magnitude = lax.abs(lax.stop_gradient(x))

    def next_smaller(i: jax.Array, carry: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, ...]:
        last, values, times = carry
        value = jnp.max(jnp.where(magnitude < last, magnitude, np.float32(-1)))
        found = jnp.sum(magnitude == value, dtype=jnp.int32)
        return value, values.at[i].set(value), times.at[i].set(found)

    nothing = np.float32(np.inf), jnp.full(count, np.float32(-1)), jnp.zeros(count, jnp.int32)
    _, values, times = lax.fori_loop(np.int32(0), np.int32(count), next_smaller, nothing)
    places = np.arange(count, dtype=np.int32)
    source = jnp.sum(jnp.cumsum(times)[None, :] <= places[:, None], axis=1, dtype=jnp.int32)
    listed = jnp.where(source < count, values[lax.min(source, np.int32(count - 1))], np.float32(-1))
    both = jnp.concatenate([largest, listed])
    is_earlier = np.tri(2 * count, k=-1, dtype=np.bool_)
    row, column = both[None, :], both[:, None]
    rank = jnp.sum((row > column) | ((row == column) & is_earlier), axis=1, dtype=jnp.int32)
    return jnp.sum(jnp.where(rank[None, :] == places[:, None], row, np.float32(0)), axis=1)


def moving_average(running: jax.Array, current: jax.Array, started: jax.Array) -> jax.Array:
    """f32(f32(0.9 * running) + f32(0.1 * current)), or ``current`` at the first call.

    Args:
      running: float32 scalar, at least 1e-6 once started.
      current: float32 scalar, at least 1e-6.
      started: bool scalar, ``is_init``.

    Returns:
      float32 scalar; once NaN or infinite it stays so.

    Source: docs/specification/quantizers.md section 3.1.
    """
    # Compilers contract a product into the following sum (fused multiply-add), which skips the product's rounding.
    # The maximum with a number smaller than any product keeps them apart and changes no value.
    kept = lax.max(_KEEP * running, _SMALLEST_NORMAL)
    taken = lax.max(_TAKE * current, _SMALLEST_NORMAL)
    return jnp.where(started, kept + taken, current)
