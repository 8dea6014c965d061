"""Tanh: a piecewise linear table over magnitudes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.config import Platform
from linger_jax.numerics import wide
from linger_jax.numerics.chip_kernels.platforms import table_owner, with_kernels
from linger_jax.numerics.chip_kernels.requantize import requantized
from linger_jax.numerics.chip_kernels.segments import of_segment, segment_of
from linger_jax.numerics.chip_kernels.tables import read, segment_table

_MOST_NEGATIVE = {Platform.venus: -(2**15), Platform.arcs: -(2**31), Platform.venusA: -(2**31)}
"""Input whose magnitude is taken one smaller than it is."""


def tanh(x: jax.Array, platform: Platform, fraction_bits: int) -> jax.Array:
    """Tanh as the chip computes it.

    Args:
        x: int32 array of any shape, with `input_fraction_bits(platform)` fraction bits. On venus a magnitude beyond
            32768 gives 0 (defect K1): saturate with `venus_saturated` first where that is not wanted.
        platform: target chip.
        fraction_bits: of the result, see `result_fraction_bits`; 31 for LSTM and GRU; 15 on venus.

    Returns:
        int32 array of x's shape.

    Raises:
        LingerError: the platform has no such kernel, or cannot answer with that many fraction bits.

    Source: spec chip_kernels.md sections 4 and 5.
    """
    with wide.region():
        return requantized(raw_tanh(x, platform), platform, fraction_bits)


def raw_tanh(x: jax.Array, platform: Platform) -> jax.Array:
    """Tanh before requantization: int64, Q15 on venus, Q31 on arcs and mars, Q58 on venusA. In `wide.region()`."""
    owner = table_owner(with_kernels(platform, "tanh"))
    name = f"tanh_{owner}"
    table = segment_table(name)
    v = wide.of(x)
    sign = jnp.where(v < np.int64(0), np.int64(-1), np.int64(1))
    most_negative = np.int64(_MOST_NEGATIVE[owner])
    magnitude = jnp.where(v == most_negative, -most_negative - np.int64(1), lax.abs(v))
    segment = segment_of(magnitude, table.upper)
    product = of_segment(segment, table.slope_nonneg) * magnitude
    bias = of_segment(segment, table.bias_nonneg)
    if owner is Platform.venus:
        return wide.floor_shift(sign * product, of_segment(segment, table.shift)) + sign * bias
    if owner is Platform.arcs:
        return wide.floor_shift(sign * product, int(read(name)["shift_after_multiply"])) + sign * bias
    return sign * (product + wide.round_shift(bias, -int(read(name)["bias_left_shift"])))
