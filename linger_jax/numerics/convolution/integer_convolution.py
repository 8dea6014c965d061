"""Exact convolutions of integers.

Accelerators have 8-bit units that add in 32 bits. XLA:CPU has none worth using for most shapes: there the products are
float32 in pieces that are exact, by the lowering that is fastest for the shape.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import lax

from linger_jax.numerics.accumulator import LARGEST_INT32, Accumulator
from linger_jax.numerics.convolution.convolution import conv
from linger_jax.numerics.convolution.convolution_shape import channels_last
from linger_jax.numerics.products import DIGIT_BITS, EXACT, integer_product, largest_sum

Padding = Sequence[tuple[int, int]]


def convolution(
    x: jax.Array,
    w: jax.Array | npt.NDArray[np.integer],
    *,
    window_strides: Sequence[int],
    padding: Padding,
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    feature_group_count: int = 1,
    dimension_numbers: lax.ConvGeneralDilatedDimensionNumbers,
    x_bits: int,
    w_bits: int,
) -> Accumulator:
    """``lax.conv_general_dilated`` on integers.

    Args:
      x, w: int32 operands within their bits, laid out as ``dimension_numbers`` says; a kernel of the host is a
        constant, whose values bound the result.
      window_strides, padding, lhs_dilation, rhs_dilation, feature_group_count, dimension_numbers: as there.
      x_bits, w_bits: widths.

    Returns:
      Exact; the layout of ``dimension_numbers``.
    """
    axes = lax.conv_dimension_numbers(x.shape, w.shape, dimension_numbers)
    last = channels_last(x.ndim)
    image = x.transpose(_order(axes.lhs_spec, last.lhs_spec))
    kernel = w.transpose(_order(axes.rhs_spec, last.rhs_spec))
    operator = partial(
        conv,
        window_strides=tuple(window_strides),
        padding=tuple(padding),
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        feature_group_count=feature_group_count,
        dimension_numbers=last,
    )
    total = _channels_last(operator, image, kernel, feature_group_count, x_bits, w_bits)
    return Accumulator(total.value.transpose(_order(last.out_spec, axes.out_spec)), total.most)


def _channels_last(
    operator: partial[jax.Array],
    x: jax.Array,
    w: jax.Array | npt.NDArray[np.integer],
    groups: int,
    x_bits: int,
    w_bits: int,
) -> Accumulator:
    """x [N, *space, C_in], w [*taps, C_in / groups, C_out]."""
    channels, taps = w.shape[-2], math.prod(w.shape[:-2])
    magnitude = None
    if isinstance(w, np.ndarray):
        of_taps = np.abs(w.astype(np.int64)).sum(axis=tuple(range(w.ndim - 2)))
        magnitude = of_taps.max(axis=1, initial=0)
    bound = largest_sum(x_bits, w_bits, taps * channels, magnitude)

    def in_pieces(x: jax.Array, w: jax.Array) -> Accumulator:
        return integer_product(
            partial(operator, precision=lax.Precision.HIGHEST, fast=True),
            x,
            w,
            x_bits=x_bits,
            y_bits=w_bits,
            terms=taps * channels,
            contracted=channels,
            cut_x=partial(_cut_channels, groups=groups),
            cut_y=lambda v, start, stop: lax.slice_in_dim(v, start, stop, axis=v.ndim - 2),
            magnitude=magnitude,
        )

    def by_int8_units(x: jax.Array, w: jax.Array) -> jax.Array:
        return operator(x.astype(jnp.int8), w.astype(jnp.int8), preferred_element_type=jnp.int32, fast=False)

    kernel = jnp.asarray(w)
    if max(x_bits, w_bits) > DIGIT_BITS or bound > LARGEST_INT32:
        return in_pieces(x, kernel)
    if largest_sum(x_bits, w_bits, taps) > EXACT:  # a piece holds one channel at least
        return Accumulator(by_int8_units(x, kernel), bound)
    total = lax.platform_dependent(x, kernel, cpu=lambda x, w: in_pieces(x, w).value, default=by_int8_units)
    return Accumulator(total, bound)


def _cut_channels(v: jax.Array, start: int, stop: int, *, groups: int) -> jax.Array:
    """The same channels of each group."""
    channels = v.shape[-1] // groups
    if (start, stop) == (0, channels):
        return v
    grouped = v.reshape(*v.shape[:-1], groups, channels)
    piece = lax.slice_in_dim(grouped, start, stop, axis=grouped.ndim - 1)
    return piece.reshape(*v.shape[:-1], -1)


def _order(source: Sequence[int], target: Sequence[int]) -> list[int]:
    """The permutation that takes one layout to another; a layout lists the axis of each kind of index."""
    where = [0] * len(source)
    for from_axis, to_axis in zip(source, target, strict=True):
        where[to_axis] = from_axis
    return where
