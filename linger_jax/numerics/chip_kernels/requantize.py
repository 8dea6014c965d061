"""Bringing results of sigmoid and tanh to the fraction bits that are asked for."""

from __future__ import annotations

from typing import assert_never

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.errors import LingerError
from linger_jax.numerics import int64
from linger_jax.targets import NarrowArithmetic, Platform, WideArithmetic

PRODUCT_FRACTION_BITS = 58
"""Slope times input of the 64-bit sigmoid and tanh."""
_LARGEST = 31


def check_fraction_bits(arithmetic: NarrowArithmetic | WideArithmetic, platform: Platform, fraction_bits: int) -> None:
    """Refuses result formats that sigmoid and tanh of a platform do not have.

    Args:
      arithmetic: the platform's.
      platform: target chip, for the message.
      fraction_bits: what is asked for.

    Raises:
      LingerError: another format than the only one, or not 1..31.
    """
    match arithmetic:
        case NarrowArithmetic():
            if fraction_bits != arithmetic.result_fraction_bits:
                raise LingerError(
                    f"sigmoid and tanh answer in Q{arithmetic.result_fraction_bits} on {platform}, not in "
                    f"Q{fraction_bits}: ask for that and re-scale the result"
                )
        case WideArithmetic():
            if not 1 <= fraction_bits <= _LARGEST:
                raise LingerError(
                    f"sigmoid and tanh answer with 1 to {_LARGEST} fraction bits, not with {fraction_bits}"
                )
        case _:
            assert_never(arithmetic)


def requantized(value: jax.Array, arithmetic: WideArithmetic, fraction_bits: int) -> jax.Array:
    """clamp(rs(raw, r - q), -2^q, 2^q - 1), raw being the value as the platform keeps it. Inside ``int64.region()``.

    The platform drops bits below Qr before it rounds. Rounding to fewer bits afterwards is the same as rounding once:
    floor((floor(v / 2^a) + 2^(s-1)) / 2^s) = floor((v + 2^(a+s-1)) / 2^(a+s)).

    Args:
      value: int64 array, Q58, at most 2^60 in magnitude: slope times input plus bias.
      arithmetic: of the target chip.
      fraction_bits: q, 1..31.

    Returns:
      int32 array of the same shape, Qq.

    Source: docs/specification/chip_kernels.md section 5.
    """
    shift = PRODUCT_FRACTION_BITS - fraction_bits
    if fraction_bits == arithmetic.kept_fraction_bits:
        rounded = int64.floor_shift(value, shift)
    else:
        rounded = int64.round_shift_with_room(value, shift)
    bound = 2**fraction_bits
    return lax.convert_element_type(lax.clamp(np.int64(-bound), rounded, np.int64(bound - 1)), jnp.int32)


def unrounded(value: jax.Array, arithmetic: WideArithmetic) -> jax.Array:
    """The value as the platform keeps it: int64, Q31 or Q58. Inside ``int64.region()``."""
    return int64.floor_shift(value, PRODUCT_FRACTION_BITS - arithmetic.kept_fraction_bits)
