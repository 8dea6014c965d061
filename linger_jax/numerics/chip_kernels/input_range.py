"""What becomes of a value that the kernels' input format cannot hold (docs/codes.md K1 and K2).

The caller chooses by its semantics: saturation is what is wanted, the other forms are the reference's.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_INT32 = np.iinfo(np.int32)
_BEYOND = np.float32(2.0**31)


def saturated_to(x: jax.Array, bits: int) -> jax.Array:
    """Saturates int32 values to the width of a kernel's input, at most 32 bits (docs/codes.md K1)."""
    if bits == _INT32.bits:
        return x
    return lax.clamp(np.int32(-(2 ** (bits - 1))), x, np.int32(2 ** (bits - 1) - 1))


def wrapped_int32(v: jax.Array) -> jax.Array:
    """int32 of whole float32 values as common CPUs cast them: whatever does not fit, NaN too, gives -2^31.

    Source: docs/codes.md K2.
    """
    fits = lax.abs(v) < _BEYOND
    whole = lax.convert_element_type(jnp.where(fits, v, np.float32(0)), jnp.int32)
    return jnp.where(fits, whole, np.int32(_INT32.min))
