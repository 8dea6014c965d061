"""Sigmoid: a piecewise linear table with a bias for each sign."""

from __future__ import annotations

import jax
from jax import lax

from linger_jax.config import Platform
from linger_jax.numerics import int64
from linger_jax.numerics.chip_kernels.kernel_table import table_owner, with_kernels
from linger_jax.numerics.chip_kernels.requantize import check_fraction_bits, requantized, unrounded
from linger_jax.numerics.chip_kernels.segment_tables import segment_table
from linger_jax.numerics.chip_kernels.segments import segments_of


def sigmoid(x: jax.Array, platform: Platform, fraction_bits: int) -> jax.Array:
    """Sigmoid as the chip computes it.

    Args:
        x: int32 array of any shape, with `input_fraction_bits(platform)` fraction bits. On venus a magnitude beyond
            32768 gives 0 (docs/codes.md K1): saturate with `venus_saturated` first where that is not wanted.
        platform: target chip.
        fraction_bits: of the result, see `result_fraction_bits`; 31 for LSTM and GRU; 15 on venus.

    Returns:
        int32 array of x's shape.

    Raises:
        LingerError: the platform has no such kernel, or cannot answer with that many fraction bits.

    Source: docs/specification/chip_kernels.md sections 3 and 5.
    """
    owner = table_owner(with_kernels(platform, "sigmoid"))
    check_fraction_bits(owner, fraction_bits)
    if owner is Platform.venus:
        return _venus(x)
    with int64.region():
        return requantized(_product(x, owner), owner, fraction_bits)


def raw_sigmoid(x: jax.Array, platform: Platform) -> jax.Array:
    """Sigmoid before requantization: int64, Q15 on venus, Q31 on arcs and mars, Q58 on venusA. In `wide.region()`."""
    owner = table_owner(with_kernels(platform, "sigmoid"))
    return int64.of(_venus(x)) if owner is Platform.venus else unrounded(_product(x, owner), owner)


def _venus(x: jax.Array) -> jax.Array:
    """Q11 to Q15 in 32 bits: the slope is 0 where a product would not fit."""
    segment = segments_of(x, segment_table("sigmoid_venus"))
    return lax.shift_right_arithmetic(segment.slope * x, segment.shift) + segment.bias


def _product(x: jax.Array, owner: Platform) -> jax.Array:
    """slope * x + bias: int64 Q58."""
    table = segment_table(f"sigmoid_{owner}")
    segment = segments_of(x, table)
    return int64.of(segment.slope) * int64.of(x) + int64.shift_left(int64.of(segment.bias), table.bias_left_shift)
