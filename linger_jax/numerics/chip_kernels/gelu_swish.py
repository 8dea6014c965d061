"""Gelu and swish: one piecewise linear form with a slope for each sign."""

from __future__ import annotations

import jax

from linger_jax.numerics import int64
from linger_jax.numerics.chip_kernels.kernel_table import gelu_swish_of
from linger_jax.numerics.chip_kernels.segment_tables import segment_table
from linger_jax.numerics.chip_kernels.segments import segments_of
from linger_jax.targets import Platform


def gelu(x: jax.Array, platform: Platform) -> jax.Array:
    """Gelu as the chip computes it; gelu(0) is -86064 in Q27, about -6.4e-4.

    Args:
      x: int32 array of any shape, Q27.
      platform: target chip.

    Returns:
      int32 array of x's shape, Q27.

    Raises:
      PlatformLimitError: the platform has no such kernel.

    Source: docs/specification/chip_kernels.md section 6.
    """
    return _gated(x, gelu_swish_of(platform, "gelu").gelu_table)


def swish(x: jax.Array, platform: Platform) -> jax.Array:
    """Swish (silu) as the chip computes it; swish(0) is -147248 in Q27, about -1.1e-3.

    Args:
      x: int32 array of any shape, Q27.
      platform: target chip.

    Returns:
      int32 array of x's shape, Q27.

    Raises:
      PlatformLimitError: the platform has no such kernel.

    Source: docs/specification/chip_kernels.md section 6.
    """
    return _gated(x, gelu_swish_of(platform, "swish").swish_table)


def _gated(x: jax.Array, table_name: str) -> jax.Array:
    table = segment_table(table_name)
    segment = segments_of(x, table)
    with int64.region():
        bias = int64.shift_left(int64.of(segment.bias), table.bias_left_shift)
        value = int64.of(segment.slope) * int64.of(x) + bias
        return int64.narrow(int64.round_shift_with_room(value, table.shift_after_add))
