"""A matrix product whose sums run in one fixed order, each product and each sum rounded to float32."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from linger_jax.numerics.products.rounded_product import rounded_product


def ordered_product(x: jax.Array, weight: jax.Array) -> jax.Array:
    """x @ weight, added up from the first inner index to the last without fused multiply-add.

    A library's product takes another order for every shape and machine; the last bit of a float sum, and with it a
    statistic taken of it, then depends on where it ran.

    Args:
      x: float32, [..., in].
      weight: float32, [in, out].

    Returns:
      float32, [..., out].
    """
    rows = x.reshape(-1, x.shape[-1])

    def add(total: jax.Array, column_and_row: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        column, row = column_and_row
        return total + rounded_product(column[:, None], row[None, :]), None

    start = jnp.zeros((rows.shape[0], weight.shape[1]), jnp.float32)
    total, _ = lax.scan(add, start, (rows.T, weight))
    return total.reshape(*x.shape[:-1], weight.shape[1])
