"""Convolution whose forward pass and two gradients each take the lowering that is fastest on CPU."""

from __future__ import annotations

from collections.abc import Sequence

import jax
from jax import lax


def conv(
    x: jax.Array,
    w: jax.Array,
    *,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    dimension_numbers: lax.ConvDimensionNumbers | tuple[str, str, str] | None = None,
    precision: lax.PrecisionLike = None,
    preferred_element_type: jax.typing.DTypeLike | None = None,
    fast: bool,
) -> jax.Array:
    """`lax.conv_general_dilated` with the same arguments; `fast` is the switch."""
    del fast
    return lax.conv_general_dilated(
        x,
        w,
        window_strides,
        padding,
        lhs_dilation,
        rhs_dilation,
        dimension_numbers,
        feature_group_count,
        batch_group_count,
        precision,
        preferred_element_type,
    )
