"""From accumulators to an output's grid."""

from __future__ import annotations

import jax.numpy as jnp

from linger_jax.config import RoundMode
from linger_jax.export.runner.integer_tensor import Array, IntegerTensor, fraction_bits, limits
from linger_jax.numerics import wide
from linger_jax.numerics.chip_kernels import saturated_int32
from linger_jax.numerics.rounding import round_scaled


def requantize(total: Array, scale: float, scale_out: float, bits: int, mode: RoundMode) -> IntegerTensor:
    """Re-rounds integers to another grid and saturates them.

    Args:
      total: int32 or int64 of any shape, in steps of 1 / scale.
      scale: grid of ``total``.
      scale_out: grid of the result.
      bits: width of the result.
      mode: rounding where the result's grid is coarser.

    Returns:
      The integers on their new grid.
    """
    with wide.region():
        shifted = rounded_shift(wide.of(total), fraction_bits(scale) - fraction_bits(scale_out), mode)
        return IntegerTensor(wide.narrow(wide.saturate(shifted, bits)), scale_out, bits)


def rounded_shift(v: Array, shift: int, mode: RoundMode) -> Array:
    """v / 2^shift rounded to integers; a left shift where ``shift`` is negative.

    Args:
      v: int64, wide enough for the left shift.
      shift: known when tracing.
      mode: rounding; ``ceil`` computes as ``round``, which is what the reference does for it.

    Source: spec/chip_kernels.md section 1, spec/quantizers.md section 1.
    """
    if shift <= 0 or mode is RoundMode.floor_add:
        return wide.round_shift(v, shift)
    down = wide.floor_shift(v, shift)
    if mode is RoundMode.floor:
        return down
    nearest = wide.round_shift(v, shift)
    tie = (v - (down << shift)) * 2 == 1 << shift
    return jnp.where(tie, nearest & -2, nearest)


def saturated(real: Array, scale: float, bits: int, mode: RoundMode) -> IntegerTensor:
    """Quantizes real numbers, the way a quantizer does.

    Args:
      real: float32 of any shape.
      scale: grid of the result.
      bits: width of the result.
      mode: rounding.
    """
    least, most = limits(bits)
    steps = round_scaled(real, jnp.float32(scale), mode)
    whole = saturated_int32(steps)
    return IntegerTensor(jnp.clip(whole, jnp.int32(least), jnp.int32(most)), scale, bits)
