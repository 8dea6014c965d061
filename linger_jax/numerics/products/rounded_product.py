"""Keeping a product and a following sum apart.

XLA's CPU backend lets LLVM contract ``a * b + c`` into one fused multiply-add, which skips the rounding of the product:
the same expression then gives other bits under ``jax.jit`` than outside it, and other bits than the chip's reference.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

_NAN = np.float32(np.nan)


def rounded_product(a: jax.Array, b: jax.Array) -> jax.Array:
    """f32(a * b): the product, rounded on its own whatever follows.

    Args:
      a, b: float32 arrays of broadcastable shapes.

    Returns:
      float32 product. The select stands between product and sum; it changes no value, and no compiler may drop it as
      long as NaN exists (``optimization_barrier`` and a no-op ``reduce_precision`` do not survive to code generation).
    """
    product = a * b
    return jnp.where(jnp.isnan(product), _NAN, product)
