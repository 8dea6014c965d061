"""The integer LayerNorm of the chips: exact sums, an inverse square root from a table, products in 32 bits.

Only one value a row needs 64 bits. The product of a centred element and the reciprocal deviation has up to 46 bits, but
its shifted result fits 32: it is put together from two 32-bit products.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.errors import PlatformLimitError
from linger_jax.numerics import int64
from linger_jax.numerics.chip_kernels import doubling_factor
from linger_jax.numerics.products import rounded_product

EPSILON = 1e-5
"""The one epsilon that the chips have."""

_TABLE_FRACTION_BITS = 15
_INT32_BITS = 31
_FLOAT32_SIGNIFICAND = 24
_LARGEST_RECIPROCAL = 2**15 - 1
_LIMB = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowArithmetic:
    """How a chip normalizes rows.

    Attributes:
      fraction_bits: Q-format of the normalized values, at most that of the table, Q15.
      radicand_bits: T sum(x^2) and sum(x)^2 of a row of T integers have to stay below 2^radicand_bits.
    """

    fraction_bits: int
    radicand_bits: int

    @property
    def one(self) -> float:
        """Integer steps of a normalized value of 1."""
        return 2.0**self.fraction_bits

    def longest(self, bits: int) -> int:
        """Most integers of a width that a row may hold."""
        return math.isqrt(2**self.radicand_bits) // 2 ** (bits - 1) - 1


KERNEL_ROWS = RowArithmetic(fraction_bits=15, radicand_bits=60)
"""Of linger's kernel; its table is defined below 2^60 (docs/specification/layers.md section 6)."""
EXECUTOR_ROWS = RowArithmetic(fraction_bits=10, radicand_bits=31)
"""Of the executor's ``LayerNormInt`` (docs/specification/executor.md section 3.3)."""


@dataclasses.dataclass(frozen=True)
class Normalized:
    """Result of ``normalize``, with what its gradient needs.

    Attributes:
      steps: int32, of the input's shape, in the Q-format of the arithmetic.
      mean: float32, the rows' means in real numbers, normalized axes of length 1.
      reciprocal_deviation: float32, 1 / sqrt(variance + 1e-5), likewise.
    """

    steps: jax.Array
    mean: jax.Array
    reciprocal_deviation: jax.Array


def check_length(where: str, count: int, bits: int) -> None:
    """Checks that the kernel normalizes rows of ``count`` integers of ``bits`` bits.

    Raises:
      PlatformLimitError: names the layer, the limit and the remedy.
    """
    most = KERNEL_ROWS.longest(bits)
    if count > most:
        raise PlatformLimitError(
            f"layer {where!r}: a LayerNorm over {count} values of {bits} bits needs more than the "
            f"{KERNEL_ROWS.radicand_bits} bits of the chip's inverse square root; at most {most} values are allowed. "
            "Normalize fewer values, give the layer fewer input bits, or leave it float with disable_submodel."
        )


def normalize(
    x: jax.Array, scale: jax.Array, axes: int, bits: int, arithmetic: RowArithmetic = KERNEL_ROWS
) -> Normalized:
    """(x - mean) / sqrt(variance + 1e-5) over the last axes, as the chip computes it.

    Args:
      x: float32 array of whole numbers, integers of ``bits`` bits: steps of ``scale``.
      scale: float32 scalar, a power of two, integer steps per unit.
      axes: how many trailing axes are normalized; their product is at most ``arithmetic.longest(bits)``.
      bits: width of the integers.
      arithmetic: the chip's.

    Returns:
      The normalized rows. The same bits on one device and many, with and without jit and x64.

    Source: docs/specification/layers.md section 6, steps 2 to 5, docs/specification/executor.md section 3.3.
    """
    over = tuple(range(x.ndim - axes, x.ndim))
    count = math.prod(x.shape[axis] for axis in over)
    total = _exact_sum(x, over, count << (bits - 1))
    squares = _sum_of_squares(x, over, count, bits)
    x = lax.convert_element_type(x, jnp.int32)
    with int64.region():
        spread = np.int64(count) * int64.of(squares) - int64.of(total) * int64.of(total)
        factor, shift = doubling_factor(spread + _epsilon_term(scale, count))
        spread = int64.to_float32(spread)
    shift = shift + np.int32(_TABLE_FRACTION_BITS - arithmetic.fraction_bits)
    units = np.float32(count) * scale
    variance = spread / units / units
    return Normalized(
        _scaled(np.int32(count) * x - total, factor, shift, (count - 1) * (2**bits - 1)),
        lax.convert_element_type(total, jnp.float32) / units,
        lax.rsqrt(variance + np.float32(EPSILON)),
    )


def _sum_of_squares(x: jax.Array, over: tuple[int, ...], count: int, bits: int) -> jax.Array:
    """int64, or int32 where that is wide enough."""
    largest = count << 2 * (bits - 1)
    if largest <= 2**_FLOAT32_SIGNIFICAND:
        return _exact_sum(x * x, over, largest)
    whole = lax.convert_element_type(x, jnp.int32)
    if largest < 2**_INT32_BITS:
        return jnp.sum(whole * whole, over, dtype=jnp.int32, keepdims=True)
    with int64.region():
        return jnp.sum(int64.of(whole) * int64.of(whole), over, keepdims=True)


def _exact_sum(x: jax.Array, over: tuple[int, ...], largest: int) -> jax.Array:
    """int32 sum of whole float32 numbers; no partial sum exceeds ``largest``, below 2^31."""
    if largest <= 2**_FLOAT32_SIGNIFICAND:
        return lax.convert_element_type(jnp.sum(x, over, keepdims=True), jnp.int32)
    return jnp.sum(lax.convert_element_type(x, jnp.int32), over, dtype=jnp.int32, keepdims=True)


def _epsilon_term(scale: jax.Array, count: int) -> jax.Array:
    """E of step 2, int64: epsilon in units of the radicand, its products rounded to float32 one by one."""
    v = np.float32(EPSILON) * (scale * scale)
    v = rounded_product(rounded_product(v, jnp.full_like(v, count)), jnp.full_like(v, count))
    return lax.convert_element_type(lax.floor(v + np.float32(0.5)), jnp.int64)


def _scaled(a: jax.Array, factor: jax.Array, shift: jax.Array, largest: int) -> jax.Array:
    """floor(a * factor / 2^shift / 2 + 1/2) in 32 bits; |a| <= largest.

    A factor beyond 15 bits comes with no shift and small ``a``: there the sum of the two limbs is right although the
    products overflow.
    """
    if largest * _LARGEST_RECIPROCAL < 2**_INT32_BITS:
        doubled = _right(a * factor, shift)
    else:
        high = _right(a, jnp.full_like(shift, _LIMB)) * factor
        low = (a & np.int32(2**_LIMB - 1)) * factor
        lower = lax.min(shift, np.int32(_LIMB))
        joined = lax.shift_left(high, _across(np.int32(_LIMB) - lower, high)) + _right(low, lower)
        doubled = _right(joined, shift - lower)
    one = np.int32(1)
    return _right(doubled, jnp.full_like(shift, one)) + (doubled & one)


def _right(v: jax.Array, shift: jax.Array) -> jax.Array:
    return lax.shift_right_arithmetic(v, _across(shift, v))


def _across(row: jax.Array, v: jax.Array) -> jax.Array:
    return jnp.broadcast_to(row, v.shape)
