"""Bringing results of sigmoid and tanh to the fraction bits that are asked for."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.config import Platform
from linger_jax.errors import LingerError
from linger_jax.numerics import int64
from linger_jax.numerics.chip_kernels.kernel_table import (
    PRODUCT_FRACTION_BITS,
    VENUS_RESULT_FRACTION_BITS,
    raw_fraction_bits,
)

_LARGEST = 31


def check_fraction_bits(platform: Platform, fraction_bits: int) -> None:
    """Refuses result formats that sigmoid and tanh of a platform do not have.

    Raises:
        LingerError: not 15 on venus, not 1..31 elsewhere.
    """
    if platform is Platform.venus and fraction_bits != VENUS_RESULT_FRACTION_BITS:
        raise LingerError(
            f"sigmoid and tanh answer in Q{VENUS_RESULT_FRACTION_BITS} on venus, not in Q{fraction_bits}: "
            "ask for that and re-scale the result"
        )
    if not 1 <= fraction_bits <= _LARGEST:
        raise LingerError(f"sigmoid and tanh answer with 1 to {_LARGEST} fraction bits, not with {fraction_bits}")


def requantized(value: jax.Array, platform: Platform, fraction_bits: int) -> jax.Array:
    """clamp(rs(raw, r - q), -2^q, 2^q - 1), raw being the value as the platform keeps it. Inside `wide.region()`.

    The platform drops bits below Qr before it rounds. Rounding to fewer bits afterwards is the same as rounding once:
    floor((floor(v / 2^a) + 2^(s-1)) / 2^s) = floor((v + 2^(a+s-1)) / 2^(a+s)).

    Args:
        value: int64 array, Q58, at most 2^60 in magnitude: slope times input plus bias.
        platform: target chip, not venus.
        fraction_bits: q, 1..31.

    Returns:
        int32 array of the same shape, Qq.

    Source: docs/specification/chip_kernels.md section 5.
    """
    shift = PRODUCT_FRACTION_BITS - fraction_bits
    if fraction_bits == raw_fraction_bits(platform):
        rounded = int64.floor_shift(value, shift)
    else:
        rounded = int64.round_shift_with_room(value, shift)
    bound = 2**fraction_bits
    return lax.convert_element_type(lax.clamp(np.int64(-bound), rounded, np.int64(bound - 1)), jnp.int32)


def unrounded(value: jax.Array, platform: Platform) -> jax.Array:
    """The value as the platform keeps it: int64 Q31 on arcs and mars, Q58 on venusA. Inside `wide.region()`."""
    return int64.floor_shift(value, PRODUCT_FRACTION_BITS - raw_fraction_bits(platform))
