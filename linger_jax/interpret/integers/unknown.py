"""Where a sum is unknown: integers hold no NaN, so the places where an operand had one are kept beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from linger_jax.numerics.products import Dimensions

Array = jax.Array


def any_nan(*values: Array) -> Array:
    """Whether one of the values is NaN; bool scalar."""
    found = jnp.zeros((), jnp.bool_)
    for value in values:
        found = found | jnp.any(_is_nan(value))
    return found


def unknown_of_contraction(x: Array, y: Array, dimension_numbers: Dimensions) -> Array:
    """Where ``lax.dot_general`` of floats is NaN because an operand is; bools of the product's rank.

    Args:
      x, y: float32.
      dimension_numbers: contracted and batch axes, as in ``lax.dot_general``.
    """
    (left, right), (left_batch, right_batch) = dimension_numbers
    of_x = _rows(x, tuple(left), tuple(left_batch))
    of_y = _rows(y, tuple(right), tuple(right_batch))
    batch = len(left_batch)
    x_free, y_free = of_x.ndim - batch, of_y.ndim - batch
    of_x = of_x.reshape(*of_x.shape, *(1,) * y_free)
    return of_x | of_y.reshape(*of_y.shape[:batch], *(1,) * x_free, *of_y.shape[batch:])


def unknown_of_convolution(x: Array, w: Array, params: Mapping[str, Any]) -> Array:
    """Which samples of ``lax.conv_general_dilated`` have NaN in their input, all where the kernel has one.

    Args:
      x, w: float32.
      params: of the equation.

    Returns:
      Bools of the product's rank, 1 along all axes but that of the samples.
    """
    numbers = params["dimension_numbers"]
    samples = numbers.lhs_spec[0]
    of_x = jnp.any(_is_nan(x), tuple(axis for axis in range(x.ndim) if axis != samples))
    shape = [1] * x.ndim
    shape[numbers.out_spec[0]] = -1
    return (of_x | any_nan(w)).reshape(shape)


def _rows(x: Array, summed: tuple[int, ...], batch: tuple[int, ...]) -> Array:
    """Whether a row holds NaN: batch axes first, summed ones gone."""
    free = [axis for axis in range(x.ndim) if axis not in (*batch, *summed)]
    order = (*batch, *free, *summed)
    return jnp.any(_is_nan(x).transpose(order), tuple(range(len(batch) + len(free), x.ndim)))


def _is_nan(x: Array) -> Array:
    return jnp.isnan(lax.stop_gradient(x))
