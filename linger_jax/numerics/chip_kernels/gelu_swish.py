"""Gelu and swish of venusA: one piecewise linear form with a slope for each sign."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.config import Platform
from linger_jax.errors import PlatformLimitError
from linger_jax.numerics import wide
from linger_jax.numerics.chip_kernels.platforms import has_gated_kernels
from linger_jax.numerics.chip_kernels.segments import of_segment, segment_of
from linger_jax.numerics.chip_kernels.tables import read, segment_table

_LARGEST_INT32 = np.int64(2**31 - 1)


def gelu(x: jax.Array, platform: Platform = Platform.venusA) -> jax.Array:
    """Gelu as venusA computes it; gelu(0) is -86064 in Q27, about -6.4e-4.

    Args:
        x: int32 array of any shape, Q27.
        platform: target chip.

    Returns:
        int32 array of x's shape, Q27.

    Raises:
        PlatformLimitError: another platform than venusA.

    Source: spec chip_kernels.md section 6.
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

    Source: spec chip_kernels.md section 6.
    """
    return _gated(x, platform, "swish")


def _gated(x: jax.Array, platform: Platform, kernel: str) -> jax.Array:
    if not has_gated_kernels(platform):
        raise PlatformLimitError(
            f"platform {platform} has no integer kernel for {kernel}: only venusA has one; leave it in float"
        )
    name = f"{kernel}_venusA"
    content, table = read(name), segment_table(name)
    with wide.region():
        v = wide.of(x)
        segment = segment_of(lax.min(lax.abs(v), _LARGEST_INT32), table.upper)
        slope = jnp.where(
            v >= np.int64(0), of_segment(segment, table.slope_nonneg), of_segment(segment, table.slope_neg)
        )
        bias = wide.round_shift(of_segment(segment, table.bias_nonneg), -int(content["bias_left_shift"]))
        return wide.narrow(wide.round_shift(slope * v + bias, int(content["shift_after_add"])))
