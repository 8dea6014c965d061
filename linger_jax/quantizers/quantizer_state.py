"""Quantizer state: the entries of one quantizer, their initial values, and their check."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.config import Compat, QatMethod
from linger_jax.errors import StateError
from linger_jax.numerics import (
    LARGEST_SCALE,
    SMALLEST_SCALE,
    SMALLEST_STATISTIC,
    exp2_rounded,
    is_power_of_two,
    log2_rounded,
)
from linger_jax.quantizers.quantizer_spec import QuantizerKind, QuantizerSpec
from linger_jax.typing import HostArray

State = dict[str, jax.Array]
"""The entries of one quantizer by name."""

RUNNING_DATA = "running_data"
IS_INIT = "is_init"
THRESHOLD = "learning_data"
"""TQT's trainable entry: log2 of the clipping threshold, float32 [1]."""
IS_CALIBRATED = "is_calibrate"
SCALE = "scale"
WEIGHT_CLAMPED = "is_init_mom_clamp_weight"
CLAMPED = "clamped"
"""A note beside the entries of a quantizer that clamps, which no rule reads: float32 [2], share of the values that were
cut when it was adopted or calibrated, and the largest magnitude (docs/decisions.md D26)."""

_INITIAL_THRESHOLD = np.float32(2.1)


def initial_state(spec: QuantizerSpec) -> State:
    """Entries of a fresh quantizer.

    Args:
      spec: the quantizer.

    Returns:
      MOM: ``running_data`` float32 [] 0, ``is_init`` bool [] false; TQT: ``learning_data`` float32 [1] 2.1,
      ``is_calibrate`` bool [] false; both: ``scale`` float32 [] 1; weight quantizers: ``is_init_mom_clamp_weight`` bool
      [] false.

    Source: docs/specification/quantizers.md section 2.
    """
    state: State = {}
    if spec.qat_method is QatMethod.MOM:
        state[RUNNING_DATA] = jnp.zeros((), jnp.float32)
        state[IS_INIT] = jnp.zeros((), jnp.bool_)
    else:
        state[THRESHOLD] = jnp.full((1,), _INITIAL_THRESHOLD, jnp.float32)
        state[IS_CALIBRATED] = jnp.zeros((), jnp.bool_)
    state[SCALE] = jnp.ones((), jnp.float32)
    if spec.kind is QuantizerKind.weight:
        state[WEIGHT_CLAMPED] = jnp.zeros((), jnp.bool_)
    return state


def saw_data(state: Mapping[str, jax.Array]) -> jax.Array:
    """The flag of either method that a quantizer has seen data: bool scalar."""
    return state[IS_INIT] if IS_INIT in state else state[IS_CALIBRATED]


def has_statistic(spec: QuantizerSpec, state: Mapping[str, jax.Array]) -> jax.Array:
    """Whether a MOM quantizer saw anything that its next statistic is averaged with.

    Nothing but zeros (a layer that starts at zero) is nothing: an average with the floor of 1e-6 would keep the scale
    at its largest, and gradients at zero, for many steps. Under ``Compat.reference`` it is averaged.

    Args:
      spec: the quantizer.
      state: its entries.

    Returns:
      bool scalar.

    Source: docs/decisions.md D28.
    """
    if spec.compat is Compat.reference:
        return state[IS_INIT]
    saw_zeros = lax.stop_gradient(state[RUNNING_DATA]) <= SMALLEST_STATISTIC  # not so for NaN, which stays
    return state[IS_INIT] & ~saw_zeros


def converted_state(spec: QuantizerSpec, state: Mapping[str, jax.Array]) -> State | None:
    """Entries of one quantizer for a specification that may ask for another method.

    Args:
      spec: the quantizer as it is to be.
      state: its entries so far, perhaps those of the other method; leading axes (stacked layers) stay.

    Returns:
      MOM from TQT: ``running_data`` = 2^learning_data; TQT from MOM: ``learning_data`` = log2 running_data; flags and
      all other entries as they were. None where the entries are of neither method.
    """
    result: State = {}
    for name in initial_state(spec):
        if name in state:
            result[name] = state[name]
        elif name == RUNNING_DATA and {THRESHOLD, IS_CALIBRATED} <= set(state):
            known = lax.max(exp2_rounded(state[THRESHOLD][..., 0]), SMALLEST_STATISTIC)
            result[name] = jnp.where(state[IS_CALIBRATED], known, jnp.float32(0))
        elif name == THRESHOLD and {RUNNING_DATA, IS_INIT} <= set(state):
            known = log2_rounded(lax.max(state[RUNNING_DATA], SMALLEST_STATISTIC))
            result[name] = jnp.where(state[IS_INIT], known, _INITIAL_THRESHOLD)[..., None]
        elif name in (IS_INIT, IS_CALIBRATED) and {IS_INIT, IS_CALIBRATED} & set(state):
            result[name] = saw_data(state)
        else:
            return None
    if spec.qat_method is QatMethod.MOM and WEIGHT_CLAMPED in result and IS_CALIBRATED in state:
        # Under TQT calibration clamps weights and leaves the flag of the other method as it is.
        result[WEIGHT_CLAMPED] = result[WEIGHT_CLAMPED] | state[IS_CALIBRATED]
    return result


def entry_problem(entry: str, values: HostArray) -> str | None:
    """Why numbers from a file cannot be those of an entry, or None where they can.

    Args:
      entry: its name.
      values: of any shape.

    Source: docs/specification/quantizers.md sections 2 and 3.
    """
    numbers = np.asarray(values, np.float64).ravel()
    if entry == SCALE:
        within = (numbers >= SMALLEST_SCALE) & (numbers <= LARGEST_SCALE)
        usable = np.array([is_power_of_two(float(number)) for number in numbers], np.bool_) & within
        wanted = f"a scale is a power of two, {SMALLEST_SCALE:.0f} to {LARGEST_SCALE:.0f}"
    elif entry in (IS_INIT, IS_CALIBRATED, WEIGHT_CLAMPED):
        usable, wanted = (numbers == 0) | (numbers == 1), "a flag is 0 or 1"
    else:
        usable, wanted = np.isfinite(numbers), "a statistic or threshold is finite"
    return None if usable.all() else f"is {numbers[~usable][0]:g}; {wanted}"


def require(state: Mapping[str, jax.Array], *names: str) -> None:
    """Check that the entries a rule reads are there.

    Args:
      state: entries of one quantizer.
      names: entries that must be present.

    Raises:
      StateError: an entry is missing.
    """
    missing = [name for name in names if name not in state]
    if missing:
        raise StateError(
            f"quantizer state lacks {', '.join(missing)} (it holds {', '.join(sorted(state)) or 'nothing'}): "
            "it was made for another qat_method or quantizer kind; create it with initial_state of this quantizer"
        )
