"""Calibration functions by name: the built-in ones and those that users register."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.compat import wide_types
from linger_jax.config import CalibrateExponent, Compat
from linger_jax.errors import CalibrationError
from linger_jax.nearest_name import nearest_name
from linger_jax.numerics import SMALLEST_STATISTIC, log2_rounded, power_of_two
from linger_jax.quantizers.exponent_choice import added_errors, covering_octave, no_errors, with_least_error
from linger_jax.quantizers.histogram import counted, covering_magnitude, halvings_of_least_entropy, no_counts
from linger_jax.quantizers.quantizer_spec import QuantizerSpec
from linger_jax.quantizers.statistic import largest_magnitude, with_largest
from linger_jax.typing import HostArray

_TOP = 10
_TOP_NEEDS_MORE_THAN = 11
_HIGHEST_BIT = np.int32(30)
"""Of a float32 number without its sign."""
_W_LIKE_STEPS = range(-10, 10)
_W_LIKE_SCALES = (np.float32(1e-6), np.float32(2.0**24))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class CalibrationResult:
    """What a calibration function found. At least one of ``learning_data`` and ``scale`` is set."""

    learning_data: jax.Array | None = None
    """float32 [1]: log2 of the statistic; decides the scale of later training."""
    scale: jax.Array | None = None
    """float32 scalar: scale to store; by default it follows from ``learning_data`` by the scale rule."""
    statistic: jax.Array | None = None
    """float32 scalar: the statistic itself, where known exactly; by default 2^learning_data."""


CalibrationFunction = Callable[[QuantizerSpec, jax.Array, int], CalibrationResult]
"""(quantizer, tensor, bits) -> result. The tensor is float32, clamped, and not negative where a ReLU follows."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class WholeDataMethod:
    """A calibration function that sees all batches as one: by sums, to which each batch adds.

    Of any other function the largest range of the batches counts.
    """

    nothing: Callable[[], HostArray]
    """The sums of no data: float32."""
    add: Callable[[QuantizerSpec, jax.Array, jax.Array], jax.Array]
    """(quantizer, tensor, sums) -> sums with this tensor."""
    result: Callable[[QuantizerSpec, jax.Array, jax.Array], CalibrationResult]
    """(quantizer, sums, largest magnitude) -> result."""
    states_exponent: bool
    """Whether the range is a power of two, and the scale that of it, whatever ``calibrate_exponent`` says."""

    def __call__(self, quantizer: QuantizerSpec, t: jax.Array, bits: int) -> CalibrationResult:
        """The result of one tensor."""
        quantizer = dataclasses.replace(quantizer, bits=bits)
        return self.result(quantizer, self.add(quantizer, t, jnp.asarray(self.nothing())), largest_magnitude(t))


_lock = threading.Lock()
_methods: dict[str, CalibrationFunction] = {}


def register_calibrate_method(name: str, function: CalibrationFunction) -> None:
    """Make a calibration function available to configurations under a name.

    Args:
      name: the text used in ``a_calibrate_name`` and ``w_calibrate_name``.
      function: called as function(quantizer, t, bits) with traced arrays; pure.

    Raises:
      CalibrationError: the name belongs to another function. Registering the same function again changes nothing.

    Source: docs/specification/config.md section 4.
    """
    with _lock:
        if _methods.setdefault(name, function) is not function:
            raise CalibrationError(
                f"the calibration method {name!r} is already registered for another function: choose another name"
            )


def calibrate_methods() -> Mapping[str, CalibrationFunction]:
    """The registered calibration functions by name (a read-only copy)."""
    with _lock:
        return MappingProxyType(dict(_methods))


def calibrate_method(name: str) -> CalibrationFunction:
    """The calibration function registered under a name.

    Args:
      name: registered name.

    Raises:
      CalibrationError: nothing is registered under this name; the message lists the known names.
    """
    methods = calibrate_methods()
    if name not in methods:
        nearest = nearest_name(name, methods)
        meant = f"did you mean {nearest!r}? Known" if nearest else "known"
        raise CalibrationError(
            f"unknown calibration method {name!r}: {meant} are {', '.join(sorted(methods))}; "
            "register your own with register_calibrate_method, before the model is made"
        )
    return methods[name]


def abs_max(quantizer: QuantizerSpec, t: jax.Array, bits: int) -> CalibrationResult:
    """learning_data = log2(max(max |t|, 1e-6)).

    Args:
      quantizer: the quantizer that is calibrated.
      t: float32 array of any shape, not empty.
      bits: its width; not read.

    Source: docs/specification/config.md section 4.
    """
    del quantizer, bits
    return _of_statistic(lax.max(largest_magnitude(t), SMALLEST_STATISTIC))


def top_10(quantizer: QuantizerSpec, t: jax.Array, bits: int) -> CalibrationResult:
    """learning_data = log2 of the tenth largest magnitude, at least 1e-6; ``abs_max`` for up to eleven elements.

    Under ``Compat.reference`` there is no floor of 1e-6 for more than eleven elements, so that learning_data may be
    -inf.

    Args:
      quantizer: the quantizer that is calibrated.
      t: float32 array of any shape, not empty.
      bits: its width; not read.

    Source: docs/specification/config.md section 4.
    """
    if t.size <= _TOP_NEEDS_MORE_THAN:
        return abs_max(quantizer, t, bits)
    tenth = _largest_but(_TOP - 1, lax.abs(t))
    return _of_statistic(tenth if quantizer.compat is Compat.reference else lax.max(tenth, SMALLEST_STATISTIC))


def w_like(quantizer: QuantizerSpec, t: jax.Array, bits: int) -> CalibrationResult:
    """The step 2^i, i in -10..9, with the least L2 error; learning_data = i + bits - 1.

    The scale comes along where the quantizer takes no exponent of its own choice.

    Args:
      quantizer: the quantizer that is calibrated.
      t: float32 array of any shape, not empty.
      bits: its width.

    Source: docs/specification/config.md section 4.
    """
    low, high = np.float32(-(2.0 ** (bits - 1))), np.float32(2.0 ** (bits - 1) - 1)

    def error(exponent: jax.Array) -> jax.Array:
        step = power_of_two(exponent)
        rounded = lax.clamp(low, lax.round(t / step, lax.RoundingMethod.TO_NEAREST_EVEN), high)
        difference = t - rounded * step
        with wide_types():
            wide = lax.convert_element_type(difference, jnp.float64)
            # The power of two changes no comparison, and keeps the length of a tensor of the largest numbers finite.
            return lax.convert_element_type(lax.sqrt(jnp.sum(wide * wide)) * np.float64(2.0**-20), jnp.float32)

    best = jnp.argmin(lax.map(error, np.arange(_W_LIKE_STEPS.start, _W_LIKE_STEPS.stop, dtype=np.int32)))
    exponent = lax.convert_element_type(best, jnp.int32) + np.int32(_W_LIKE_STEPS.start)
    learning_data = lax.convert_element_type(exponent + np.int32(bits - 1), jnp.float32)
    scale = None
    if quantizer.calibrate_exponent is CalibrateExponent.nearest:
        scale = lax.clamp(_W_LIKE_SCALES[0], power_of_two(-exponent), _W_LIKE_SCALES[1])
    return CalibrationResult(learning_data=learning_data.reshape(1), scale=scale)


def _largest_but(larger: int, t: jax.Array) -> jax.Array:
    """The largest number of which at least ``larger`` others are as large, of float32 numbers that are not negative.

    Their bit patterns are ordered as they are, so the pattern is found bit by bit, each by a count: sorting takes a
    processor thirty times as long, and many devices to gather all numbers.
    """
    patterns = lax.bitcast_convert_type(t, jnp.int32)

    def with_bit(place: jax.Array, found: jax.Array) -> jax.Array:
        tried = found | lax.shift_left(np.int32(1), _HIGHEST_BIT - place)
        count = jnp.sum(patterns >= tried, dtype=jnp.int32)
        return jnp.where(count > np.int32(larger), tried, found)

    found = lax.fori_loop(np.int32(0), _HIGHEST_BIT + np.int32(1), with_bit, np.int32(0))
    return lax.bitcast_convert_type(found, jnp.float32)


def _of_statistic(statistic: jax.Array) -> CalibrationResult:
    return CalibrationResult(learning_data=log2_rounded(statistic).reshape(1), statistic=statistic)


def _of_power(log2: jax.Array, largest: jax.Array) -> CalibrationResult:
    """A range of 2^log2; the floor of zeros (docs/decisions.md D28)."""
    saw_data = largest > SMALLEST_STATISTIC
    floor = _of_statistic(jnp.asarray(SMALLEST_STATISTIC))
    assert floor.learning_data is not None
    return CalibrationResult(
        learning_data=jnp.where(saw_data, lax.convert_element_type(log2, jnp.float32), floor.learning_data),
        statistic=jnp.where(saw_data, power_of_two(log2), SMALLEST_STATISTIC),
    )


def _tenth(quantizer: QuantizerSpec, largest_values: jax.Array, largest: jax.Array) -> CalibrationResult:
    del quantizer
    tenth = jnp.where(largest_values[_TOP_NEEDS_MORE_THAN] < np.float32(0), largest, largest_values[_TOP - 1])
    return _of_statistic(lax.max(tenth, SMALLEST_STATISTIC))


def _least_error(quantizer: QuantizerSpec, errors: jax.Array, largest: jax.Array) -> CalibrationResult:
    return _of_power(np.int32(quantizer.bits - 1) - with_least_error(errors), largest)


def _percentile(quantizer: QuantizerSpec, counts: jax.Array, largest: jax.Array) -> CalibrationResult:
    covering = covering_magnitude(counts, quantizer.calibrate_percentile)
    return _of_statistic(lax.max(lax.min(covering, largest), SMALLEST_STATISTIC))


def _least_entropy(quantizer: QuantizerSpec, counts: jax.Array, largest: jax.Array) -> CalibrationResult:
    octave = covering_octave(lax.max(largest, SMALLEST_STATISTIC))
    return _of_power(octave - halvings_of_least_entropy(counts, octave, quantizer.bits), largest)


mse = WholeDataMethod(nothing=no_errors, add=added_errors, result=_least_error, states_exponent=True)
"""The power of two with the least squared error on the data, of all that the chip has; of equal ones the coarser."""
percentile = WholeDataMethod(nothing=no_counts, add=counted, result=_percentile, states_exponent=False)
"""The magnitude that ``calibrate_percentile`` percent of the values do not exceed, up to 0.4 % more."""
kl = WholeDataMethod(nothing=no_counts, add=counted, result=_least_entropy, states_exponent=True)
"""The power of two with the least entropy of the data relative to the quantized data, as TensorRT searches it."""

top_10_of_all = WholeDataMethod(
    nothing=lambda: np.full(_TOP_NEEDS_MORE_THAN + 1, -1, np.float32),
    add=lambda quantizer, t, largest: with_largest(t, largest),
    result=_tenth,
    states_exponent=False,
)
"""``top_10`` of the values of all batches."""

_BUILT_IN: Mapping[str, CalibrationFunction] = {
    "abs_max": abs_max,
    "top_10": top_10,
    "w_like": w_like,
    "mse": mse,
    "percentile": percentile,
    "kl": kl,
}
for _name, _function in _BUILT_IN.items():
    register_calibrate_method(_name, _function)
