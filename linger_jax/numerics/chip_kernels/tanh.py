"""Tanh: a piecewise linear table over magnitudes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.config import Platform
from linger_jax.numerics import int64
from linger_jax.numerics.chip_kernels.kernel_table import table_owner, with_kernels
from linger_jax.numerics.chip_kernels.requantize import check_fraction_bits, requantized, unrounded
from linger_jax.numerics.chip_kernels.segment_tables import segment_table
from linger_jax.numerics.chip_kernels.segments import segments_of

_VENUS_MOST_NEGATIVE = np.int32(-(2**15))
_MOST_NEGATIVE = np.int32(-(2**31))


def tanh(x: jax.Array, platform: Platform, fraction_bits: int) -> jax.Array:
    """Tanh as the chip computes it.

    Args:
        x: int32 array of any shape, with `input_fraction_bits(platform)` fraction bits. On venus a magnitude beyond
            32768 gives 0 (docs/codes.md K1): saturate with `venus_saturated` first where that is not wanted.
        platform: target chip.
        fraction_bits: of the result, see `result_fraction_bits`; 31 for LSTM and GRU; 15 on venus.

    Returns:
        int32 array of x's shape.

    Raises:
        LingerError: the platform has no such kernel, or cannot answer with that many fraction bits.

    Source: docs/specification/chip_kernels.md sections 4 and 5.
    """
    owner = table_owner(with_kernels(platform, "tanh"))
    check_fraction_bits(owner, fraction_bits)
    if owner is Platform.venus:
        return _venus(x)
    with int64.region():
        return requantized(_product(x, owner), owner, fraction_bits)


def raw_tanh(x: jax.Array, platform: Platform) -> jax.Array:
    """Tanh before requantization: int64, Q15 on venus, Q31 on arcs and mars, Q58 on venusA. In `wide.region()`."""
    owner = table_owner(with_kernels(platform, "tanh"))
    return int64.of(_venus(x)) if owner is Platform.venus else unrounded(_product(x, owner), owner)


def _venus(x: jax.Array) -> jax.Array:
    """Q11 to Q15 in 32 bits: the slope is 0 where a product would not fit."""
    x = _without(_VENUS_MOST_NEGATIVE, x)
    segment = segments_of(x, segment_table("tanh_venus"))
    return lax.shift_right_arithmetic(segment.slope * x, segment.shift) + _signed(segment.bias, x)


def _product(x: jax.Array, owner: Platform) -> jax.Array:
    """Sign * (slope * magnitude + bias): int64 Q58."""
    x = _without(_MOST_NEGATIVE, x)
    table = segment_table(f"tanh_{owner}")
    segment = segments_of(x, table)
    bias = int64.shift_left(int64.of(_signed(segment.bias, x)), table.bias_left_shift)
    return int64.of(segment.slope) * int64.of(x) + bias


def _without(most_negative: np.int32, x: jax.Array) -> jax.Array:
    """The value whose magnitude the format lacks becomes its neighbour."""
    return jnp.where(x == most_negative, most_negative + np.int32(1), x)


def _signed(bias: jax.Array, x: jax.Array) -> jax.Array:
    return jnp.where(x < np.int32(0), -bias, bias)
