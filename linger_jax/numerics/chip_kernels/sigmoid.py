"""Sigmoid: a piecewise linear table with a bias for each sign."""

from __future__ import annotations

from typing import assert_never

import jax
from jax import lax

from linger_jax.numerics import int64
from linger_jax.numerics.chip_kernels.kernel_table import kernels_of
from linger_jax.numerics.chip_kernels.requantize import check_fraction_bits, requantized, unrounded
from linger_jax.numerics.chip_kernels.segment_tables import segment_table
from linger_jax.numerics.chip_kernels.segments import segments_of
from linger_jax.targets import NarrowArithmetic, Platform, SigmoidTanh, WideArithmetic


def sigmoid(x: jax.Array, platform: Platform, fraction_bits: int) -> jax.Array:
    """Sigmoid as the chip computes it.

    Args:
      x: int32 array of any shape, with ``input_fraction_bits(platform)`` fraction bits. Where a kernel's input has 16
        bits, a magnitude beyond 32768 gives 0 (docs/codes.md K1): saturate with ``saturated_to`` first where that is
        not wanted.
      platform: target chip.
      fraction_bits: of the result, see ``result_fraction_bits`` and ``gate_fraction_bits``.

    Returns:
      int32 array of x's shape.

    Raises:
      LingerError: the platform has no such kernel, or cannot answer with that many fraction bits.

    Source: docs/specification/chip_kernels.md sections 3 and 5.
    """
    kernel = kernels_of(platform, "sigmoid").sigmoid_tanh
    check_fraction_bits(kernel.arithmetic, platform, fraction_bits)
    match kernel.arithmetic:
        case NarrowArithmetic():
            return _narrow(x, kernel)
        case WideArithmetic():
            with int64.region():
                return requantized(_product(x, kernel), kernel.arithmetic, fraction_bits)
        case _:
            assert_never(kernel.arithmetic)


def raw_sigmoid(x: jax.Array, platform: Platform) -> jax.Array:
    """Sigmoid before requantization: int64 in the format that the chip keeps it in. Inside ``int64.region()``."""
    kernel = kernels_of(platform, "sigmoid").sigmoid_tanh
    match kernel.arithmetic:
        case NarrowArithmetic():
            return int64.of(_narrow(x, kernel))
        case WideArithmetic():
            return unrounded(_product(x, kernel), kernel.arithmetic)
        case _:
            assert_never(kernel.arithmetic)


def _narrow(x: jax.Array, kernel: SigmoidTanh) -> jax.Array:
    """In 32 bits: the slope is 0 where a product would not fit."""
    segment = segments_of(x, segment_table(kernel.sigmoid_table))
    return lax.shift_right_arithmetic(segment.slope * x, segment.shift) + segment.bias


def _product(x: jax.Array, kernel: SigmoidTanh) -> jax.Array:
    """slope * x + bias: int64 Q58."""
    table = segment_table(kernel.sigmoid_table)
    segment = segments_of(x, table)
    return int64.of(segment.slope) * int64.of(x) + int64.shift_left(int64.of(segment.bias), table.bias_left_shift)
