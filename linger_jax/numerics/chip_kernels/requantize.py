"""Bringing raw results of sigmoid and tanh to the fraction bits that are asked for."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.config import Platform
from linger_jax.errors import LingerError
from linger_jax.numerics import wide
from linger_jax.numerics.chip_kernels.platforms import VENUS_RESULT_FRACTION_BITS, raw_fraction_bits

_LARGEST = 31


def requantized(raw: jax.Array, platform: Platform, fraction_bits: int) -> jax.Array:
    """clamp(rs(raw, r - q), -2^q, 2^q - 1) as int32; venus is used directly. Inside `wide.region()`.

    Args:
        raw: int64 array, Qr of the platform.
        platform: target chip.
        fraction_bits: q, 1..31; 15 on venus.

    Returns:
        int32 array of raw's shape, Qq.

    Raises:
        LingerError: fraction bits that the platform does not have.

    Source: spec chip_kernels.md section 5.
    """
    if platform is Platform.venus:
        if fraction_bits != VENUS_RESULT_FRACTION_BITS:
            raise LingerError(
                f"sigmoid and tanh answer in Q{VENUS_RESULT_FRACTION_BITS} on venus, not in Q{fraction_bits}: "
                "ask for that and re-scale the result"
            )
        return lax.convert_element_type(raw, jnp.int32)
    if not 1 <= fraction_bits <= _LARGEST:
        raise LingerError(f"sigmoid and tanh answer with 1 to {_LARGEST} fraction bits, not with {fraction_bits}")
    rounded = wide.round_shift(raw, raw_fraction_bits(platform) - fraction_bits)
    bound = 2**fraction_bits
    return lax.convert_element_type(lax.clamp(np.int64(-bound), rounded, np.int64(bound - 1)), jnp.int32)
