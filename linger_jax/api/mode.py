"""Which mode a call runs in. Statistics move if and only if ``quant`` is mutable; calibration is a JAX user context."""

from __future__ import annotations

import jax

# Part of jax.jit's cache key: a function that was compiled outside the context is traced again inside it.
calibration_context = jax.make_user_context(default_value=False)


def is_calibrating() -> bool:
    """Whether this thread is inside the calibration context."""
    return bool(calibration_context.value)
