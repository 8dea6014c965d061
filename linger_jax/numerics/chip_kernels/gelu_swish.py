"""Gelu and swish of venusA: one piecewise linear form with a slope for each sign."""

from __future__ import annotations

import jax

from linger_jax.config import Platform
from linger_jax.errors import PlatformLimitError
from linger_jax.numerics import int64
from linger_jax.numerics.chip_kernels.kernel_table import has_gated_kernels
from linger_jax.numerics.chip_kernels.segment_tables import segment_table
from linger_jax.numerics.chip_kernels.segments import segments_of


def gelu(x: jax.Array, platform: Platform = Platform.venusA) -> jax.Array:
    """Gelu as venusA computes it; gelu(0) is -86064 in Q27, about -6.4e-4.

    Args:
        x: int32 array of any shape, Q27.
        platform: target chip.

    Returns:
        int32 array of x's shape, Q27.

    Raises:
        PlatformLimitError: another platform than venusA.

    Source: docs/specification/chip_kernels.md section 6.
    """
    return _gated(x, platform, "gelu")


def swish(x: jax.Array, platform: Platform = Platform.venusA) -> jax.Array:
    """Swish (silu) as venusA computes it; swish(0) is -147248 in Q27, about -1.1e-3.

    Args:
        x: int32 array of any shape, Q27.
        platform: target chip.

    Returns:
        int32 array of x's shape, Q27.

    Raises:
        PlatformLimitError: another platform than venusA.

    Source: docs/specification/chip_kernels.md section 6.
    """
    return _gated(x, platform, "swish")


def _gated(x: jax.Array, platform: Platform, kernel: str) -> jax.Array:
    if not has_gated_kernels(platform):
        raise PlatformLimitError(
            f"platform {platform} has no integer kernel for {kernel}: only venusA has one; leave it in float"
        )
    table = segment_table(f"{kernel}_venusA")
    segment = segments_of(x, table)
    with int64.region():
        bias = int64.shift_left(int64.of(segment.bias), table.bias_left_shift)
        value = int64.of(segment.slope) * int64.of(x) + bias
        return int64.narrow(int64.round_shift_with_room(value, table.shift_after_add))
