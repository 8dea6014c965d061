"""Finding the segment of a piecewise linear table, and its numbers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.numerics.chip_kernels.tables import Ints


def segment_of(magnitude: jax.Array, upper: Ints) -> jax.Array:
    """Smallest j with magnitude <= upper[j]; the number of segments beyond the last.

    Args:
        magnitude: int64 array, not negative.
        upper: last magnitude of each segment; an edge belongs to the lower segment.

    Returns:
        int32 array of the same shape.

    Source: spec chip_kernels.md section 2.
    """
    segment = jnp.zeros(magnitude.shape, jnp.int32)
    for edge in upper:
        segment = segment + lax.convert_element_type(magnitude > edge, jnp.int32)
    return segment


def of_segment(segment: jax.Array, values: Ints) -> jax.Array:
    """values[segment], 0 beyond the last: int64 array of segment's shape."""
    padded = jnp.asarray(np.append(values, np.int64(0)))
    return jnp.take(padded, segment, mode="clip")
