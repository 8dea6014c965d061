"""The precision that a float32 product of integers asks of its hardware.

At the default precision TF32 units (NVIDIA GPUs) keep 11 significant bits of an operand and bfloat16 units (TPUs) 8;
what it has beyond them is rounded away before the product. A quantized operand is an integer over a power of two: one
of 8 bits, -128 included, is kept by both, one of 16 bits by neither. CPUs compute in float32 whatever is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from jax import lax

KEPT_BITS = 8
"""Widest integers whose product may run at the default precision: they fit every unit with a bit to spare."""

_FULL = lax.Precision.HIGHEST
_EXACT_PRESETS = frozenset(
    {
        lax.DotAlgorithmPreset.BF16_BF16_F32_X6,
        lax.DotAlgorithmPreset.BF16_BF16_F32_X9,
        lax.DotAlgorithmPreset.F32_F32_F32,
        lax.DotAlgorithmPreset.F64_F64_F64,
    }
)
"""Algorithms that keep operands of 16 bits."""

Product = Callable[[jax.Array, jax.Array], jax.Array]


def product_precision(asked: Any, *bits: int) -> Any:
    """The precision at which no operand loses a bit; never less than what the user asked for.

    Args:
      asked: the user's, as ``lax.dot_general`` takes it or as it stands in a jaxpr: None, a ``Precision``, a pair of
        them, or an algorithm.
      *bits: widths of the operands that are quantized; none for a float product.

    Returns:
      ``asked`` where it is enough, else ``Precision.HIGHEST`` for both operands.
    """
    if max(bits, default=0) <= KEPT_BITS or _keeps_all(asked):
        return asked
    return (_FULL, _FULL)


def precise_product(product: Callable[..., jax.Array], asked: Any, *bits: int) -> Product:
    """A bilinear operation on quantized operands: forward at the precision of their bits.

    Its gradients are products with numbers on no grid and keep the user's precision.

    Args:
      product: the operation, ``product(x, y, precision=...)``.
      asked, *bits: as ``product_precision`` takes them.
    """
    as_asked = partial(product, precision=asked)
    precision = product_precision(asked, *bits)
    return as_asked if precision == asked else partial(_apart, partial(product, precision=precision), as_asked)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _apart(forward: Product, differentiated: Product, x: jax.Array, y: jax.Array) -> jax.Array:
    """``forward``, with the gradients of ``differentiated``."""
    del differentiated
    return forward(x, y)


def _apart_fwd(
    forward: Product, differentiated: Product, x: jax.Array, y: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    del differentiated
    return forward(x, y), (x, y)


def _apart_bwd(
    forward: Product, differentiated: Product, operands: tuple[jax.Array, jax.Array], g: jax.Array
) -> tuple[jax.Array, jax.Array]:
    del forward
    _, pull = jax.vjp(differentiated, *operands)
    d_x, d_y = pull(g)
    return d_x, d_y


_apart.defvjp(_apart_fwd, _apart_bwd)


def _keeps_all(asked: Any) -> bool:
    if isinstance(asked, lax.DotAlgorithm):
        kept = (np.dtype(asked.lhs_precision_type), np.dtype(asked.rhs_precision_type))
        return all(dtype in (np.float32, np.float64) for dtype in kept)
    if isinstance(asked, lax.DotAlgorithmPreset):
        return asked in _EXACT_PRESETS
    return asked in (_FULL, (_FULL, _FULL))
