"""One call of a quantizer in calibration: clamp, statistic by name, state; the tensor itself is not quantized."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.config import ActivationType, Compat, QatMethod
from linger_jax.errors import CalibrationError, LingerError
from linger_jax.numerics import SMALLEST_STATISTIC, clip_symmetric, exp2_rounded, power_of_two
from linger_jax.quantizers.calibration_methods import CalibrationResult, calibrate_method
from linger_jax.quantizers.exponent_choice import no_errors, settled
from linger_jax.quantizers.quantize import limit_scale, scale_within_range
from linger_jax.quantizers.quantizer_spec import QuantizerKind, QuantizerSpec
from linger_jax.quantizers.quantizer_state import (
    IS_CALIBRATED,
    IS_INIT,
    RUNNING_DATA,
    SCALE,
    THRESHOLD,
    WEIGHT_CLAMPED,
    State,
    require,
)
from linger_jax.quantizers.weight_clamp import clamp_bound
from linger_jax.typing import HostArray

_ZERO = np.float32(0.0)
_UNBOUNDED = np.float32(np.inf)

_SEEN = "calibration_seen"
_RANGE = "calibration_range"
_ERRORS = "calibration_errors"


def nothing_seen() -> dict[str, HostArray]:
    """Entries that stand beside a quantizer's own while it is calibrated: what the calibration saw so far.

    ``calibration_seen`` bool []; ``calibration_range`` float32 [], the largest range in the form of ``running_data`` or
    ``learning_data``; ``calibration_errors`` float32 [2, 24], the squared error for each exponent.
    """
    return {_SEEN: np.zeros((), np.bool_), _RANGE: np.zeros((), np.float32), _ERRORS: no_errors()}


def calibrate(
    spec: QuantizerSpec,
    x: jax.Array,
    state: State,
    *,
    given_scale: jax.Array | None = None,
    min_scale: jax.Array | None = None,
) -> tuple[jax.Array, State]:
    """Set a quantizer's threshold, statistic and scale from a tensor.

    Args:
      spec: the quantizer.
      x: float32 array of any shape, not empty.
      state: entries of this quantizer; and those of ``nothing_seen`` as earlier calls of this calibration left them,
        without which this is the only call. The largest range of all calls counts, the errors of all their data, and
        the smallest explicit scale. A weight or bias that has been clamped before is not clamped again.
      given_scale: float32 scalar: scale of a bias quantizer, input scale * weight scale.
      min_scale: float32 scalar: upper limit of the stored scale (quantized addition).

    Returns:
      x: clamped, not quantized: for parameters the new parameter.
      new_state: the same entries, shapes and dtypes as ``state``. Under ``Compat.reference`` the scale stays as it was
        unless the calibration function sets one.

    Raises:
      LingerError: ``x`` is empty or not float32.
      CalibrationError: unknown calibration name; a function that returns no CalibrationResult or an empty one; MOM
        under ``Compat.reference``, where the reference fails.
      StateError: an entry is missing.

    The caller refuses a second calibration and non-finite data (``has_non_finite``): both need the layer's name.

    Source: docs/specification/config.md section 4, docs/decisions.md D7, D25 and D28.
    """
    reference = spec.compat is Compat.reference
    if reference and spec.qat_method is QatMethod.MOM:
        raise CalibrationError(
            "calibration under qat_method MOM fails in linger and is not available with compat: reference; "
            "use compat: chip or qat_method: TQT"
        )
    if x.dtype != jnp.float32:
        raise LingerError(f"cannot calibrate with {x.dtype} values: linger_jax quantizes float32 values only")
    if x.size == 0:
        raise LingerError(f"cannot calibrate with an empty tensor of shape {x.shape}")
    value, flag = _entries(spec)
    require(state, value, flag, SCALE)
    before: State = {name: jnp.asarray(state.get(name, entry)) for name, entry in nothing_seen().items()}
    x = _clamp(spec, x, state, flag)
    t = lax.stop_gradient(x)
    if spec.activation_type is ActivationType.Relu:
        t = jnp.where(t < _ZERO, _ZERO, t)
    result = calibrate_method(spec.calibrate_name)(spec, t, spec.bits)
    if not isinstance(result, CalibrationResult) or (result.learning_data is None and result.scale is None):
        raise CalibrationError(
            f"calibration method {spec.calibrate_name!r} must return a CalibrationResult with learning_data or scale"
        )
    new_state = {**state, flag: jnp.ones_like(state[flag])}
    if WEIGHT_CLAMPED in state and spec.qat_method is QatMethod.MOM:
        new_state[WEIGHT_CLAMPED] = jnp.ones_like(state[WEIGHT_CLAMPED])
    after = {**before, _SEEN: jnp.ones((), jnp.bool_)}
    scale = None if result.scale is None else _joined(jnp.minimum, before, state[SCALE], _scalar(result.scale))
    if result.learning_data is not None:
        found = _statistic(result) if spec.qat_method is QatMethod.MOM else _scalar(result.learning_data)
        after[_RANGE] = kept = _joined(jnp.maximum, before, before[_RANGE], found)
        if scale is None and not reference and spec.kind is not QuantizerKind.bias:
            exponent, kept, after[_ERRORS] = settled(spec, t, kept, before[_ERRORS])
            scale = power_of_two(exponent)
        new_state[value] = kept.reshape(state[value].shape)
    elif spec.qat_method is QatMethod.MOM:
        new_state[flag] = state[flag]
    new_state |= {name: entry for name, entry in after.items() if name in state}
    if scale is not None:
        new_state[SCALE] = scale if reference else limit_scale(scale, min_scale)
    elif spec.kind is QuantizerKind.bias and not reference and given_scale is not None:
        new_state[SCALE] = scale_within_range(given_scale)
    return x, new_state


def has_non_finite(x: jax.Array) -> jax.Array:
    """Whether a tensor holds NaN or an infinity.

    Args:
      x: float array of any shape.

    Returns:
      bool scalar array.
    """
    return ~jnp.all(lax.is_finite(lax.stop_gradient(x)))


def _entries(spec: QuantizerSpec) -> tuple[str, str]:
    """Names of the value that calibration sets and of its flag."""
    return (RUNNING_DATA, IS_INIT) if spec.qat_method is QatMethod.MOM else (THRESHOLD, IS_CALIBRATED)


def _clamp(spec: QuantizerSpec, x: jax.Array, state: State, flag: str) -> jax.Array:
    bound = clamp_bound(spec, x)
    if bound is None:
        return x
    done = jnp.zeros((), jnp.bool_) if spec.kind is QuantizerKind.activation else state[flag]
    if WEIGHT_CLAMPED in state and spec.qat_method is QatMethod.MOM:
        done = done | state[WEIGHT_CLAMPED]
    return clip_symmetric(x, jnp.where(done, _UNBOUNDED, bound))


def _scalar(value: jax.Array) -> jax.Array:
    return lax.convert_element_type(jnp.reshape(value, ()), jnp.float32)


def _statistic(result: CalibrationResult) -> jax.Array:
    if result.statistic is not None:
        return lax.max(_scalar(result.statistic), SMALLEST_STATISTIC)
    assert result.learning_data is not None
    return lax.max(exp2_rounded(_scalar(result.learning_data)), SMALLEST_STATISTIC)


def _joined(
    choose: Callable[[jax.Array, jax.Array], jax.Array], before: State, old: jax.Array, new: jax.Array
) -> jax.Array:
    return jnp.where(before[_SEEN], choose(old, new), new)
