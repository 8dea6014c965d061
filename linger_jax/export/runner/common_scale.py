"""From accumulators to an output's grid."""

from __future__ import annotations

import jax.numpy as jnp

from linger_jax.config import RoundMode
from linger_jax.export.runner.integer_tensor import Array, IntegerTensor, fraction_bits, limits
from linger_jax.numerics import Accumulator, round_scaled
from linger_jax.numerics.chip_kernels import saturated_int32


def requantize(
    total: Accumulator, scale: float, scale_out: float, bits: int, mode: RoundMode, *, as_float32: bool = True
) -> IntegerTensor:
    """Re-rounds integers to another grid and saturates them.

    Args:
      total: in steps of 1 / scale.
      scale: grid of ``total``.
      scale_out: grid of the result.
      bits: width of the result.
      mode: rounding where the result's grid is coarser.
      as_float32: the result holds what float32 does.

    Returns:
      The integers on their new grid.
    """
    shift = fraction_bits(scale) - fraction_bits(scale_out)
    return IntegerTensor(total.requantized(shift, bits, mode, as_float32=as_float32), scale_out, bits)


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
