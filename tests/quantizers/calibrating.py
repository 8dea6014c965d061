"""Calibrating a quantizer alone, on any number of batches."""

import functools

import jax

from linger_jax.quantizers import calibrate, initial_state, nothing_seen


@functools.cache
def _step_of(spec):
    return jax.jit(lambda x, state: calibrate(spec, x, state)[1])


def calibrated(spec, *batches):
    """The state of a quantizer that was calibrated on batches, what the calibration saw beside it."""
    state = {**initial_state(spec), **nothing_seen(spec)}
    for batch in batches:
        state = _step_of(spec)(batch, state)
    return state
