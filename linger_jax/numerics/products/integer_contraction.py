"""Exact matrix products of integers: 8-bit operands by the processor's 8-bit units, wider ones in float32 pieces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import lax

from linger_jax.numerics.accumulator import LARGEST_INT32, Accumulator
from linger_jax.numerics.products.integer_product import DIGIT_BITS, integer_product, largest_sum

Dimensions = tuple[tuple[Sequence[int], Sequence[int]], tuple[Sequence[int], Sequence[int]]]


def contraction(
    x: jax.Array,
    y: jax.Array | npt.NDArray[np.integer],
    dimension_numbers: Dimensions,
    *,
    x_bits: int,
    y_bits: int,
) -> Accumulator:
    """``lax.dot_general`` on integers.

    Args:
      x, y: int32 operands within their bits; an array of the host is a constant, whose values bound the result.
      dimension_numbers: contracted and batch axes, as in ``lax.dot_general``.
      x_bits, y_bits: widths.

    Returns:
      Exact; the axes of ``lax.dot_general``.
    """
    (left, right), (left_batch, right_batch) = dimension_numbers
    terms = math.prod(x.shape[axis] for axis in left)
    magnitude = None if not isinstance(y, np.ndarray) else _magnitude(y, right)
    batched = len(left_batch) > 0
    if max(x_bits, y_bits) <= DIGIT_BITS and not batched and largest_sum(x_bits, y_bits, terms) <= LARGEST_INT32:
        product = lax.dot_general(
            x.astype(jnp.int8),
            jnp.asarray(y).astype(jnp.int8),
            dimension_numbers,
            preferred_element_type=jnp.int32,
        )
        return Accumulator(product, largest_sum(x_bits, y_bits, terms, magnitude))
    x_rows, y_rows = _merged(x, left_batch, left), _merged(y, right_batch, right)
    batch = tuple(range(len(left_batch)))
    dimensions = (((x_rows.ndim - 1,), (y_rows.ndim - 1,)), (batch, batch))
    return integer_product(
        lambda a, b: lax.dot_general(a, b, dimensions, precision=lax.Precision.HIGHEST),
        x_rows,
        y_rows,
        x_bits=x_bits,
        y_bits=y_bits,
        terms=terms,
        contracted=terms,
        cut_x=_cut_last,
        cut_y=_cut_last,
        magnitude=magnitude,
    )


def matmul(x: jax.Array, y: jax.Array, *, x_bits: int, y_bits: int) -> Accumulator:
    """``jnp.matmul`` on integers.

    Args:
      x, y: int32 operands within their bits.
      x_bits, y_bits: widths.
    """
    terms = x.shape[-1]
    return integer_product(
        lambda a, b: jnp.matmul(a, b, precision=lax.Precision.HIGHEST),
        x,
        y,
        x_bits=x_bits,
        y_bits=y_bits,
        terms=terms,
        contracted=terms,
        cut_x=_cut_last,
        cut_y=lambda v, start, stop: lax.slice_in_dim(v, start, stop, axis=max(v.ndim - 2, 0)),
    )


def _merged(v: Any, batch: Sequence[int], contracted: Sequence[int]) -> Any:
    """Batch axes first, contracted axes merged into one at the end."""
    free = [axis for axis in range(v.ndim) if axis not in (*batch, *contracted)]
    shape = [v.shape[axis] for axis in (*batch, *free)]
    return v.transpose([*batch, *free, *contracted]).reshape(*shape, math.prod(v.shape[axis] for axis in contracted))


def _magnitude(y: npt.NDArray[np.integer], contracted: Sequence[int]) -> npt.NDArray[np.int64]:
    """For each position of the merged contracted axes the largest magnitude."""
    rows = np.abs(_merged(y, (), contracted).astype(np.int64))
    return rows.reshape(-1, rows.shape[-1]).max(axis=0, initial=0)


def _cut_last(v: jax.Array, start: int, stop: int) -> jax.Array:
    return v if (start, stop) == (0, v.shape[-1]) else lax.slice_in_dim(v, start, stop, axis=v.ndim - 1)
