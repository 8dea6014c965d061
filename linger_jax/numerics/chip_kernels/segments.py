"""The numbers of the segment that an input lies in.

They are found by a chain of selections instead of an index and a gather: vector units do the former eight or sixteen
elements at a time, and a GPU without touching memory.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.numerics.chip_kernels.segment_tables import Ints, SegmentTable

_LARGEST = np.iinfo(np.int32).max


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Segments:
    """Slope, bias and right shift of each element's segment: int32 arrays of the input's shape."""

    slope: jax.Array
    bias: jax.Array
    shift: jax.Array


def saturated_magnitude(x: jax.Array) -> jax.Array:
    """|x| of int32 values, with -2^31 mapped to 2^31 - 1."""
    return lax.abs(lax.max(x, np.int32(-_LARGEST)))


@functools.partial(jax.jit, static_argnums=1, inline=True)
def segments_of(x: jax.Array, table: SegmentTable) -> Segments:
    """Looks up each element's segment: the lowest one whose upper edge is not below the magnitude.

    Args:
      x: int32 array of any shape. The magnitude of -2^31 is taken as 2^31 - 1, which no table tells from 2^31.
      table: the kernel's segments.

    Returns:
      The segments' numbers; all 0 beyond the last segment.

    Source: docs/specification/chip_kernels.md section 2.
    """
    magnitude = saturated_magnitude(x)
    complete = table.upper[-1] >= _LARGEST
    above = [magnitude > np.int32(edge) for edge in table.upper if edge < _LARGEST]

    def pick(values: Ints) -> jax.Array:
        picked = jnp.full_like(magnitude, int(values[0]))
        for condition, value in zip(above, [*values[1:], 0], strict=False):
            picked = jnp.where(condition, np.int32(value), picked)
        return picked

    def pick_by_sign(nonneg: Ints, neg: Ints) -> jax.Array:
        if np.array_equal(nonneg, neg):
            return pick(nonneg)
        both = nonneg + neg
        if complete and np.all(both == both[0]):  # one chain serves both signs; a sum of 2^31 wraps to the right bits
            picked = pick(nonneg)
            return jnp.where(x >= np.int32(0), picked, both.astype(np.int32)[0] - picked)
        return jnp.where(x >= np.int32(0), pick(nonneg), pick(neg))

    return Segments(
        slope=pick_by_sign(table.slope_nonneg, table.slope_neg),
        bias=pick_by_sign(table.bias_nonneg, table.bias_neg),
        shift=pick(table.shift),
    )
