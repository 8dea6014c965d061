"""Sums and variances of channels in the order in which PyTorch adds on a CPU, for arrays with the channel last.

Only the reference's float calibration pass of a BatchNorm depends on them (``compat: reference``): everywhere else the
values lie on a grid, where sums are exact in any order.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.compat import wide_types
from linger_jax.numerics.sums.cascade_sum import cascade_sum, interleaved_sum, stretched_sum
from linger_jax.numerics.true_division import true_quotient

_LANES = 8
_BLOCK = 4
"""Columns, or vectors of columns, that are added side by side, each in plain stretches."""


def channel_mean(x: jax.Array) -> jax.Array:
    """Mean of each channel, as ``x.mean`` gives it over batch and plane of an NC... tensor.

    Args:
      x: float32, [N, plane..., C].

    Returns:
      float32 [C].
    """
    return true_quotient(_channel_sum(x), np.float32(x.size // x.shape[-1]))


def channel_variance(x: jax.Array) -> jax.Array:
    """Biased variance of each channel: two passes in float64, rounded once, as ``x.var`` does.

    Args:
      x: float32, [N, plane..., C].

    Returns:
      float32 [C].
    """
    axes = tuple(range(x.ndim - 1))
    with wide_types():
        wide = lax.convert_element_type(x, jnp.float64)
        distance = wide - jnp.mean(wide, axes, keepdims=True)
        return lax.convert_element_type(jnp.mean(distance * distance, axes), jnp.float32)


def _channel_sum(x: jax.Array) -> jax.Array:
    """Sum over all axes but the last; in PyTorch's memory the channel stands behind the batch."""
    batch, channels, plane = x.shape[0], x.shape[-1], math.prod(x.shape[1:-1])
    if channels == 1:
        return cascade_sum(x).reshape(1)
    if plane == 1:
        return _column_sum(x.reshape(batch, channels))
    images = jax.vmap(jax.vmap(cascade_sum))(jnp.swapaxes(x.reshape(batch, plane, channels), 1, 2))
    total, _ = lax.scan(lambda total, image: (total + image, None), jnp.zeros(channels, jnp.float32), images)
    return total


def _column_sum(rows: jax.Array) -> jax.Array:
    """Sum over the leading axis: whole blocks of columns in stretches, the others with four rows at once."""
    columns = rows.shape[1]
    block = _BLOCK * _LANES if columns >= _LANES else _BLOCK
    whole = columns // block * block
    return jnp.concatenate([stretched_sum(rows[:, :whole]), interleaved_sum(rows[:, whole:])])
