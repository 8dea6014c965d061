"""Exact matrix products of integers by float32 matrix products.

A float32 matrix product of integers is exact in any order while no partial sum reaches 2^24. Wider operands are split
into balanced digits of eight bits, long sums into pieces. Unlike ``numerics.integer_product`` this one splits its
operands apart from the product, so that a loop over time splits the weights once, and adds in float64.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.numerics.recurrent import float64_integers

_DIGIT_BITS = 8
_BASE = np.float32(2.0**_DIGIT_BITS)
_MANTISSA_BITS = 24

Digits = tuple[jax.Array, ...]


def digits(x: jax.Array, bits: int) -> Digits:
    """Digits d_0, d_1, ... with x = sum d_k * 256^k, each of magnitude at most 128.

    Args:
      x: float32 integers of ``bits`` bits; a number beyond them makes the last digit larger.
      bits: width.

    Returns:
      ceil(bits / 8) float32 arrays of x's shape.
    """
    found = []
    for _ in range(math.ceil(bits / _DIGIT_BITS) - 1):
        above = lax.floor(x * np.float32(1 / _BASE) + np.float32(0.5))
        found.append(x - above * _BASE)
        x = above
    return (*found, x)


def digit_product(x: Digits, w: Digits, *, spare_bits: int = 0) -> jax.Array:
    """x @ w in integers. Inside ``int64.region()``.

    Args:
      x: digits of integers [..., K].
      w: digits of integers [K, N].
      spare_bits: by how many bits the last digit of ``x`` may be larger than its width says.

    Returns:
      float64 integers [..., N], exact below 2^53.
    """
    # A product of two digits has at most 2 * (8 - 1) bits and a sign.
    piece = 2 ** (_MANTISSA_BITS - 2 * (_DIGIT_BITS - 1) - spare_bits)
    length = w[0].shape[0]
    total: jax.Array | None = None
    for i, x_digit in enumerate(x):
        for j, w_digit in enumerate(w):
            weight = np.float64(2.0 ** (_DIGIT_BITS * (i + j)))
            for start in range(0, length, piece):
                part = float64_integers.of(
                    jnp.matmul(
                        x_digit[..., start : start + piece],
                        w_digit[start : start + piece],
                        precision=lax.Precision.HIGHEST,
                    )
                )
                part = part if i + j == 0 else part * weight
                total = part if total is None else total + part
    assert total is not None
    return total
