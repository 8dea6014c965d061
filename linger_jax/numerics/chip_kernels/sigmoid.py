"""Sigmoid: a piecewise linear table, one for each sign's bias."""

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

_LARGEST_INT32 = np.int64(2**31 - 1)


def sigmoid(x: jax.Array, platform: Platform, fraction_bits: int) -> jax.Array:
    """Sigmoid as the chip computes it.

    Args:
        x: int32 array of any shape, with `input_fraction_bits(platform)` fraction bits. On venus a magnitude beyond
            32768 gives 0 (defect K1): saturate with `venus_saturated` first where that is not wanted.
        platform: target chip.
        fraction_bits: of the result, see `result_fraction_bits`; 31 for LSTM and GRU; 15 on venus.

    Returns:
        int32 array of x's shape.

    Raises:
        LingerError: the platform has no such kernel, or cannot answer with that many fraction bits.

    Source: spec chip_kernels.md sections 3 and 5.
    """
    with wide.region():
        return requantized(raw_sigmoid(x, platform), platform, fraction_bits)


def raw_sigmoid(x: jax.Array, platform: Platform) -> jax.Array:
    """Sigmoid before requantization: int64, Q15 on venus, Q31 on arcs and mars, Q58 on venusA. In `wide.region()`."""
    owner = table_owner(with_kernels(platform, "sigmoid"))
    name = f"sigmoid_{owner}"
    table = segment_table(name)
    v = wide.of(x)
    magnitude = lax.abs(v)
    if owner is Platform.venusA:
        magnitude = lax.min(magnitude, _LARGEST_INT32)
    segment = segment_of(magnitude, table.upper)
    product = of_segment(segment, table.slope_nonneg) * v
    bias = jnp.where(v >= np.int64(0), of_segment(segment, table.bias_nonneg), of_segment(segment, table.bias_neg))
    if owner is Platform.venus:
        return wide.floor_shift(product, of_segment(segment, table.shift)) + bias
    if owner is Platform.arcs:
        return wide.floor_shift(product, int(read(name)["shift_after_multiply"])) + bias
    return product + wide.round_shift(bias, -int(read(name)["bias_left_shift"]))
