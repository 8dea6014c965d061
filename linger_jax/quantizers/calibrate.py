"""One call of a quantizer in calibration: clamp, statistic by name, state; the tensor itself is not quantized."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.compat import wide_types
from linger_jax.config import ActivationType, Compat, QatMethod
from linger_jax.errors import CalibrationError, LingerError
from linger_jax.numerics import SMALLEST_STATISTIC, clip_symmetric, exp2_rounded, power_of_two
from linger_jax.quantizers.calibration_methods import (
    CalibrationFunction,
    CalibrationResult,
    WholeDataMethod,
    abs_max,
    calibrate_method,
    top_10,
    top_10_of_all,
)
from linger_jax.quantizers.exponent_choice import needs_errors, no_errors, settled
from linger_jax.quantizers.quantize import limit_scale, own_scale, scale_within_range
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
from linger_jax.quantizers.statistic import largest_magnitude
from linger_jax.quantizers.weight_clamp import clamp_bound
from linger_jax.quantizers.wide_sum import as_one, as_two
from linger_jax.typing import HostArray

_ZERO = np.float32(0.0)
_UNBOUNDED = np.float32(np.inf)

_SEEN = "calibration_seen"
_RANGE = "calibration_range"
_ERRORS = "calibration_errors"
_SUMS = "calibration_sums"
_LARGEST = "calibration_largest"
BEYOND = "calibration_beyond"


def nothing_seen(spec: QuantizerSpec) -> dict[str, HostArray]:
    """Entries that stand beside a quantizer's own while it is calibrated: what the calibration saw so far.

    Always ``calibration_seen`` bool [] and ``calibration_range`` float32 [], the range of all batches in the form of
    ``running_data`` or ``learning_data``. Where they are needed ``calibration_errors`` float32 [2, 24], the squared
    error for each exponent; of a method that sees all batches ``calibration_sums``, its own, and
    ``calibration_largest`` float32 []; and ``calibration_beyond`` float32 [3, 2]: values beyond a clamp and all, as
    ``wide_sum``, and the largest magnitude.

    Raises:
      CalibrationError: the specification names an unknown method.
    """
    entries: dict[str, HostArray] = {_SEEN: np.zeros((), np.bool_), _RANGE: np.zeros((), np.float32)}
    method = _method(spec)
    if isinstance(method, WholeDataMethod):
        entries |= {_SUMS: method.nothing(), _LARGEST: np.zeros((), np.float32)}
    if needs_errors(spec) and not _states_exponent(method):
        entries[_ERRORS] = no_errors()
    if _counts_beyond(spec):
        entries[BEYOND] = np.zeros((3, 2), np.float32)
    return entries


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
    before: State = {name: jnp.asarray(state.get(name, entry)) for name, entry in nothing_seen(spec).items()}
    after = {**before, _SEEN: jnp.ones((), jnp.bool_)}
    bound = _bound(spec, x, state, flag)
    if BEYOND in before:
        after[BEYOND] = _counted_beyond(x, spec.counted_bound if bound is None else bound, before[BEYOND])
    x = x if bound is None else clip_symmetric(x, bound)
    t = lax.stop_gradient(x)
    if spec.activation_type is ActivationType.Relu:
        t = jnp.where(t < _ZERO, _ZERO, t)
    method = _method(spec)
    if isinstance(method, WholeDataMethod):
        after[_SUMS] = method.add(spec, t, before[_SUMS])
        after[_LARGEST] = lax.max(before[_LARGEST], largest_magnitude(t))
        result = method.result(spec, after[_SUMS], after[_LARGEST])
        before = {**before, _SEEN: jnp.zeros((), jnp.bool_)}  # the result is that of all batches: nothing is joined
    else:
        result = method(spec, t, spec.bits)
    if not isinstance(result, CalibrationResult) or (result.learning_data is None and result.scale is None):
        raise CalibrationError(
            f"calibration method {spec.calibrate_name!r} must return a CalibrationResult with learning_data or scale"
        )
    new_state = {**state, flag: jnp.ones_like(state[flag])}
    if WEIGHT_CLAMPED in state and spec.qat_method is QatMethod.MOM:
        new_state[WEIGHT_CLAMPED] = jnp.ones_like(state[WEIGHT_CLAMPED])
    scale = None if result.scale is None else _joined(jnp.minimum, before, state[SCALE], _scalar(result.scale))
    if result.learning_data is not None:
        found = _statistic(result) if spec.qat_method is QatMethod.MOM else _scalar(result.learning_data)
        after[_RANGE] = kept = _joined(jnp.maximum, before, before[_RANGE], found)
        if scale is None and not reference and spec.kind is not QuantizerKind.bias:
            if _states_exponent(method):
                scale = own_scale(spec, kept)
            else:
                grows = not isinstance(method, WholeDataMethod)
                exponent, kept, errors = settled(spec, t, kept, before.get(_ERRORS), only_grows=grows)
                after |= {} if errors is None else {_ERRORS: errors}
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
    if x.dtype != jnp.float32:
        return ~jnp.all(lax.is_finite(lax.stop_gradient(x)))
    largest = largest_magnitude(x) if x.size else _ZERO
    return ~lax.is_finite(jnp.asarray(largest))


def _entries(spec: QuantizerSpec) -> tuple[str, str]:
    """Names of the value that calibration sets and of its flag."""
    return (RUNNING_DATA, IS_INIT) if spec.qat_method is QatMethod.MOM else (THRESHOLD, IS_CALIBRATED)


def _method(spec: QuantizerSpec) -> CalibrationFunction:
    """The method: of activations ``top_10`` of all batches; of a bias, whose range decides nothing, no sums.

    A weight is the same in all batches, so that its tenth largest value is that of one.
    """
    method = calibrate_method(spec.calibrate_name)
    if method is top_10 and spec.kind is QuantizerKind.activation and spec.compat is Compat.chip:
        return top_10_of_all
    is_idle = spec.kind is QuantizerKind.bias and isinstance(method, WholeDataMethod)
    return abs_max if is_idle else method


def _states_exponent(method: CalibrationFunction) -> bool:
    return isinstance(method, WholeDataMethod) and method.states_exponent


def _counts_beyond(spec: QuantizerSpec) -> bool:
    return spec.compat is Compat.chip and (spec.clamps or spec.counted_bound is not None)


def _bound(spec: QuantizerSpec, x: jax.Array, state: State, flag: str) -> jax.Array | None:
    """The bound of the clamp, infinite where a parameter has been clamped before; None where nothing is clamped."""
    bound = clamp_bound(spec, x)
    if bound is None:
        return None
    done = jnp.zeros((), jnp.bool_) if spec.kind is QuantizerKind.activation else state[flag]
    if WEIGHT_CLAMPED in state and spec.qat_method is QatMethod.MOM:
        done = done | state[WEIGHT_CLAMPED]
    return jnp.where(done, _UNBOUNDED, bound)


def _counted_beyond(x: jax.Array, bound: Any, before: jax.Array) -> jax.Array:
    """How many values lie beyond a bound, of how many, and the largest magnitude: float32 [3, 2] with earlier ones."""
    x = lax.stop_gradient(x)
    found = jnp.sum(lax.abs(x) > bound, dtype=jnp.int32)
    with wide_types():
        counts = jnp.stack([lax.convert_element_type(found, jnp.float64), jnp.asarray(x.size, jnp.float64)])
        counts = as_two(as_one(before[:2].T) + counts).T
    return jnp.concatenate([counts, lax.max(before[2:], largest_magnitude(x))])


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
