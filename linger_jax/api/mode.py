"""Which mode a call runs in. Statistics move if and only if ``quant`` is mutable; calibration is a JAX user context."""

from __future__ import annotations

import enum

import jax


class Calibration(enum.Enum):
    """Whether a calibration pass replaces the statistic or joins it with those of earlier batches."""

    once = "once"
    accumulate = "accumulate"


# Part of jax.jit's cache key: a function that was compiled outside the context is traced again inside it.
calibration_context = jax.make_user_context(default_value=None)


def current_calibration() -> Calibration | None:
    """The calibration mode of this thread, or None."""
    mode: Calibration | None = calibration_context.value
    return mode
