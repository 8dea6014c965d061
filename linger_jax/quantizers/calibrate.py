"""One call of a quantizer in calibration: clamp, statistic by name, state; the tensor itself is not quantized."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.config import ActivationType, Compat, QatMethod
from linger_jax.errors import CalibrationError, LingerError
from linger_jax.numerics import SMALLEST_STATISTIC, clip_symmetric, exp2_rounded, scale_of_statistic, scale_of_threshold
from linger_jax.quantizers.calibration_methods import CalibrationResult, calibrate_method
from linger_jax.quantizers.quantize import exponent_ties, limit_scale, scale_within_range
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

_ZERO = np.float32(0.0)
_UNBOUNDED = np.float32(np.inf)


def calibrate(
    spec: QuantizerSpec,
    x: jax.Array,
    state: State,
    *,
    accumulate: bool = False,
    given_scale: jax.Array | None = None,
    min_scale: jax.Array | None = None,
) -> tuple[jax.Array, State]:
    """Set a quantizer's threshold, statistic and scale from a tensor.

    Args:
      spec: the quantizer.
      x: float32 array of any shape, not empty.
      state: entries of this quantizer.
      accumulate: True joins the statistic with one that an earlier batch left, taking the larger (the smaller of two
        explicit scales), and does not clamp a second time; False replaces it. On a fresh state both are the same.
        Under MOM a weight whose ``is_init_mom_clamp_weight`` is set has been clamped before and is not clamped again.
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

    Source: docs/specification/config.md section 4, docs/decisions.md D7.
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
    joins = state[flag] if accumulate else None
    x = _clamp(spec, x, state, joins)
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
    if result.learning_data is not None:
        found = _statistic(result) if spec.qat_method is QatMethod.MOM else _scalar(result.learning_data)
        new_state[value] = _joined(jnp.maximum, joins, state[value], found.reshape(state[value].shape))
    elif spec.qat_method is QatMethod.MOM:
        new_state[flag] = state[flag]
    new_state[SCALE] = _scale(spec, state, new_state, result, joins, given_scale, min_scale)
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


def _clamp(spec: QuantizerSpec, x: jax.Array, state: State, joins: jax.Array | None) -> jax.Array:
    bound = clamp_bound(spec, x)
    if bound is None:
        return x
    done = jnp.zeros((), jnp.bool_) if joins is None or spec.kind is QuantizerKind.activation else joins
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


def _joined(choose: object, joins: jax.Array | None, before: jax.Array, found: jax.Array) -> jax.Array:
    assert callable(choose)
    return found if joins is None else jnp.where(joins, choose(before, found), found)


def _scale(
    spec: QuantizerSpec,
    state: State,
    new_state: State,
    result: CalibrationResult,
    joins: jax.Array | None,
    given_scale: jax.Array | None,
    min_scale: jax.Array | None,
) -> jax.Array:
    if result.scale is not None:
        scale = _joined(jnp.minimum, joins, state[SCALE], _scalar(result.scale))
        return scale if spec.compat is Compat.reference else limit_scale(scale, min_scale)
    if spec.compat is Compat.reference:
        return state[SCALE]
    if spec.kind is QuantizerKind.bias:
        return state[SCALE] if given_scale is None else scale_within_range(given_scale)
    ties = exponent_ties(spec.quant_method)
    if spec.qat_method is QatMethod.MOM:
        return limit_scale(scale_of_statistic(new_state[RUNNING_DATA], spec.bits, ties), min_scale)
    return limit_scale(scale_of_threshold(_scalar(new_state[THRESHOLD]), spec.bits, ties)[0], min_scale)
