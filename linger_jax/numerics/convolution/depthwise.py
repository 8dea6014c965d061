"""Depthwise convolution on CPU: shifted products instead of one tiny convolution per channel.

XLA:CPU runs a grouped convolution as a scalar loop. With one channel per group a convolution is a sum over taps of
``shifted x * w[tap]``, one fused elementwise pass; so is the gradient of its input. The gradient of the kernel is a sum
of products per tap: one reduction with an accumulator per tap reads both operands once.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.numerics.convolution.convolution_shape import ConvShape


def forward(c: ConvShape, x: jax.Array, w: jax.Array) -> jax.Array:
    """x [N, *space, C], w [*taps, 1, C] -> [N, *out, C]."""
    per_tap = w.reshape(c.taps, c.outputs)
    total: jax.Array | None = None
    for tap, element in enumerate(c.windows.elements(_padded(c, x))):
        product = element * _along_channels(per_tap[tap], element)
        total = product if total is None else total + product
    assert total is not None
    return total


def input_gradient(c: ConvShape, w: jax.Array, g: jax.Array) -> jax.Array:
    """w [*taps, 1, C], g [N, *out, C] -> [N, *space, C]."""
    per_tap = w.reshape(c.taps, c.outputs)

    def term(tap: int, g: jax.Array) -> jax.Array:
        return g * _along_channels(per_tap[tap], g)

    return c.windows.add_back(c.x, [(g, 0.0)], term)


def weight_gradient(c: ConvShape, x: jax.Array, g: jax.Array) -> jax.Array:
    """x [N, *space, C], g [N, *out, C] -> [*taps, 1, C]."""
    products = [element * g for element in c.windows.elements(_padded(c, x))]

    def add(totals: Sequence[jax.Array], terms: Sequence[jax.Array]) -> list[jax.Array]:
        return [total + term for total, term in zip(totals, terms, strict=True)]

    # Over space first: the accumulators of one example stay in registers.
    sums = lax.reduce(products, [np.float32(0)] * c.taps, add, range(1, g.ndim - 1))
    return jnp.stack([lax.reduce_sum(each, (0,)) for each in sums]).reshape(c.w)


def _padded(c: ConvShape, x: jax.Array) -> jax.Array:
    """``x`` with its padding, written once: fused into its readers it would be tested for at every tap."""
    return lax.optimization_barrier(c.windows.pad(x, 0.0)) if c.windows.padded else x


def _along_channels(per_channel: jax.Array, like: jax.Array) -> jax.Array:
    return lax.broadcast_in_dim(per_channel, like.shape, (like.ndim - 1,))
