"""The float32 sum of a contiguous tensor in the order in which PyTorch adds on a CPU with 256-bit vectors.

The reference's weight clamp depends on a float32 mean, hence on the order of its additions: that of ATen's
``cascade_sum`` on one thread (PyTorch, aten/src/ATen/native/cpu/SumKernel.cpp), with eight lanes, four interleaved rows
and partial sums that are passed up through four levels.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

_LANES = 8
_ROWS = 4
_LEVELS = 4
_LEAST_POWER = 4

_ZERO = np.float32(0.0)


@jax.jit
def cascade_sum(x: jax.Array) -> jax.Array:
    """Sum of all elements in memory order.

    Args:
      x: float32 array of any shape.

    Returns:
      float32 scalar.
    """
    flat = x.reshape(-1)
    vectors = flat.size // _LANES
    if vectors == 0:
        return interleaved_sum(flat.reshape(flat.size, 1))[0]
    lanes = interleaved_sum(flat[: vectors * _LANES].reshape(vectors, _LANES))
    total = jnp.full((), _ZERO, jnp.float32)
    for element in [*flat[vectors * _LANES :], *lanes]:
        total = total + element
    return total


def interleaved_sum(vectors: jax.Array) -> jax.Array:
    """Sum of the rows of a [n, lanes] array: four interleaved sums, then their sum."""
    steps = vectors.shape[0] // _ROWS
    sums = stretched_sum(vectors[: steps * _ROWS].reshape(steps, _ROWS, vectors.shape[1]))
    first = sums[0]
    for row in vectors[steps * _ROWS :]:
        first = first + row
    for other in sums[1:]:
        first = first + other
    return first


def stretched_sum(rows: jax.Array) -> jax.Array:
    """Sum over the leading axis: stretches of 2^p rows alone, then stretches of 2^p of their sums, and so on."""
    size = rows.shape[0]
    power = max(_LEAST_POWER, (size - 1).bit_length() // _LEVELS) if size else _LEAST_POWER
    step = 2**power
    sums = []
    for level in range(_LEVELS):
        whole = rows.shape[0] // step if level < _LEVELS - 1 else 0
        sums.append(_in_order(rows[whole * step :], axis=0))
        rows = _in_order(rows[: whole * step].reshape(whole, step, *rows.shape[1:]), axis=1)
    total = sums[0]
    for level_sum in sums[1:]:
        total = total + level_sum
    return total


def _in_order(rows: jax.Array, axis: int) -> jax.Array:
    """Sum over one axis from 0, one row after the other."""
    total = jnp.zeros(rows.shape[:axis] + rows.shape[axis + 1 :], jnp.float32)
    for index in range(rows.shape[axis]):
        total = total + jax.lax.index_in_dim(rows, index, axis, keepdims=False)
    return total
