"""One call of a quantizer: statistic, scale, fake quantization and new state."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax

from linger_jax.config import Compat, QatMethod, QuantMethod
from linger_jax.errors import LingerError
from linger_jax.numerics import LARGEST_SCALE, SMALLEST_SCALE, ExponentTies, scale_of_statistic, scale_of_threshold
from linger_jax.quantizers.fake_quant import Grid, fake_quant, fake_quant_with_threshold, passes_gradient
from linger_jax.quantizers.quantizer_spec import QuantizerSpec
from linger_jax.quantizers.quantizer_state import (
    IS_CALIBRATED,
    IS_INIT,
    RUNNING_DATA,
    SCALE,
    THRESHOLD,
    State,
    has_statistic,
    require,
)
from linger_jax.quantizers.statistic import largest_value, moving_average

_KERNEL_METHODS = (QuantMethod.CUDA, QuantMethod.CUDA_GS)


def quantize(
    spec: QuantizerSpec,
    x: jax.Array,
    state: State,
    *,
    training: bool,
    given_scale: jax.Array | None = None,
    min_scale: jax.Array | None = None,
    clip: float | None = None,
) -> tuple[jax.Array, State]:
    """Fake-quantize a tensor and advance the quantizer's state.

    The same bits come out with and without ``jax.jit``, with and without ``jax_enable_x64``, under ``vmap``, ``scan``
    and ``remat``, and for one device or many (the statistic is that of the global tensor).

    Args:
      spec: the quantizer.
      x: float32 array of any shape, 0-dimensional included. Its gradient is masked where a value was cut.
      state: entries of this quantizer (``initial_state``). ``state["learning_data"]`` is differentiable; nothing else
      is.
      training: True moves the statistic and derives the scale from it; False uses the stored scale.
      given_scale: float32 scalar power of two: the scale handed to a bias quantizer, or the fixed scale of an
        activation quantizer. Statistics stay untouched. Ignored when not training.
      min_scale: float32 scalar: upper limit of the scale (quantized addition).
      clip: training only: clip to +-clip before the statistic (layer outputs); a value on the bound passes gradient.

    Returns:
      y: float32 array of ``x``'s shape, integers over ``new_state["scale"]``.
      new_state: the same entries, shapes and dtypes as ``state``.

    Raises:
      LingerError: ``x`` is not float32, or is empty where a statistic is needed.
      StateError: an entry that the rule reads is missing.

    Source: docs/specification/quantizers.md sections 1 to 8 and 10, docs/specification/ops.md section 2.
    """
    if x.dtype != jnp.float32:
        raise LingerError(
            f"a {spec.kind} quantizer got {x.dtype}: linger_jax quantizes float32 values only; cast first"
        )
    if not training:
        return _evaluate(spec, x, state, min_scale)
    grid = _grid(spec, spec.quant_method in _KERNEL_METHODS, clip)
    if given_scale is not None:
        scale = _scale_given(spec, given_scale, min_scale)
        return fake_quant(grid, x, scale), {**state, SCALE: scale}
    if spec.qat_method is QatMethod.MOM:
        return _train_with_statistic(spec, grid, x, state, min_scale)
    return _train_with_threshold(spec, grid, x, state, min_scale)


def gradient_mask(spec: QuantizerSpec, x: jax.Array, scale: jax.Array) -> jax.Array:
    """Where fake quantization in training passes the gradient.

    Args:
      spec: the quantizer.
      x: float32 array of any shape.
      scale: float32, a power of two; a scalar or of ``x``'s rank.

    Returns:
      bool array of ``x``'s shape.

    Source: docs/specification/quantizers.md sections 4 and 8.
    """
    return passes_gradient(_grid(spec, spec.quant_method in _KERNEL_METHODS, None), x, scale)


def rescale(
    spec: QuantizerSpec, state: State, *, given_scale: jax.Array | None = None, min_scale: jax.Array | None = None
) -> State:
    """The scale that follows from the statistic or threshold as it is, for a quantizer whose width was changed.

    Args:
      spec: the quantizer.
      state: its entries; a quantizer that never saw data keeps its scale.
      given_scale: float32 scalar handed in (bias quantizers), or None.
      min_scale: upper limit of the scale, or None.

    Returns:
      The entries with the new ``scale``.
    """
    if given_scale is not None:
        return {**state, SCALE: _scale_given(spec, given_scale, min_scale)}
    if spec.qat_method is QatMethod.MOM:
        require(state, RUNNING_DATA, IS_INIT, SCALE)
        seen, own = state[IS_INIT], own_scale(spec, state[RUNNING_DATA])
    else:
        require(state, THRESHOLD, IS_CALIBRATED, SCALE)
        seen = state[IS_CALIBRATED] | (state[SCALE] != jnp.float32(1))
        own = own_scale(spec, lax.stop_gradient(state[THRESHOLD]).reshape(()))
    return {**state, SCALE: jnp.where(seen, limit_scale(own, min_scale), state[SCALE])}


def own_scale(spec: QuantizerSpec, value: jax.Array) -> jax.Array:
    """The scale that follows from a statistic (MOM) or threshold (TQT), before any limit.

    Args:
      spec: the quantizer.
      value: float32 scalar, ``running_data`` or ``learning_data``.

    Returns:
      float32 scalar; NaN where the value is not finite.

    Source: docs/specification/quantizers.md sections 3 and 8.
    """
    ties = exponent_ties(spec.quant_method)
    if spec.qat_method is QatMethod.MOM:
        return scale_of_statistic(value, spec.bits, ties)
    return scale_of_threshold(value, spec.bits, ties)[0]


def limit_scale(scale: jax.Array, min_scale: jax.Array | None) -> jax.Array:
    """Apply the min_scale rule of the quantized addition: no scale above ``min_scale``.

    Args:
      scale: float32 scalar.
      min_scale: float32 scalar or None.

    Returns:
      float32 scalar; NaN stays NaN.

    Source: docs/specification/quantizers.md section 6.
    """
    if min_scale is None:
        return scale
    min_scale = lax.stop_gradient(min_scale)
    return jnp.where(scale > min_scale, min_scale, scale)


def scale_within_range(scale: jax.Array) -> jax.Array:
    """Clip a given or stored scale to [1, 2^23].

    Args:
      scale: float32 scalar.

    Returns:
      float32 scalar; NaN stays NaN.

    Source: docs/specification/quantizers.md sections 5 and 7.
    """
    return lax.clamp(SMALLEST_SCALE, lax.stop_gradient(scale), LARGEST_SCALE)


def exponent_ties(quant_method: QuantMethod) -> ExponentTies:
    """Which exponent a tie takes under a rule set (docs/specification/quantizers.md sections 3 and 8)."""
    return ExponentTies.half_away if quant_method in _KERNEL_METHODS else ExponentTies.half_even


def scale_in_evaluation(spec: QuantizerSpec, state: State, min_scale: jax.Array | None = None) -> jax.Array:
    """The scale that an evaluation uses: the stored one, within its limits but under the CUDA rules.

    Args:
      spec: the quantizer.
      state: its entries.
      min_scale: upper limit of the scale, or None.

    Returns:
      float32 scalar.

    Raises:
      StateError: the entry is missing.

    Source: docs/specification/quantizers.md sections 7 and 8.
    """
    require(state, SCALE)
    if spec.quant_method is QuantMethod.CUDA:
        return lax.stop_gradient(state[SCALE])
    return limit_scale(scale_within_range(state[SCALE]), min_scale)


def _train_with_statistic(
    spec: QuantizerSpec, grid: Grid, x: jax.Array, state: State, min_scale: jax.Array | None
) -> tuple[jax.Array, State]:
    require(state, RUNNING_DATA, IS_INIT, SCALE)
    running = moving_average(
        lax.stop_gradient(state[RUNNING_DATA]),
        largest_value(x, spec.activation_type, grid.clip, finite=grid.saturates_infinity),
        has_statistic(spec, state),
    )
    scale = limit_scale(scale_of_statistic(running, spec.bits, exponent_ties(spec.quant_method)), min_scale)
    new_state = {**state, RUNNING_DATA: running, IS_INIT: jnp.ones_like(state[IS_INIT]), SCALE: scale}
    return fake_quant(grid, x, scale), new_state


def _train_with_threshold(
    spec: QuantizerSpec, grid: Grid, x: jax.Array, state: State, min_scale: jax.Array | None
) -> tuple[jax.Array, State]:
    require(state, THRESHOLD, SCALE)
    threshold = state[THRESHOLD]
    unlimited, learns = scale_of_threshold(
        lax.stop_gradient(threshold).reshape(()), spec.bits, exponent_ties(spec.quant_method)
    )
    scale = limit_scale(unlimited, min_scale)
    new_state = {**state, SCALE: scale}
    if spec.quant_method is QuantMethod.CUDA:
        return fake_quant(grid, x, scale), new_state
    if spec.quant_method is QuantMethod.CUDA_GS:
        learns = jnp.ones_like(learns)
    elif min_scale is not None:
        learns = learns & (scale == unlimited)
    return fake_quant_with_threshold(grid, x, scale, threshold, learns), new_state


def _evaluate(spec: QuantizerSpec, x: jax.Array, state: State, min_scale: jax.Array | None) -> tuple[jax.Array, State]:
    scale = scale_in_evaluation(spec, state, min_scale)
    return fake_quant(_grid(spec, spec.quant_method is QuantMethod.CUDA, None), x, scale), {**state, SCALE: scale}


def _scale_given(spec: QuantizerSpec, given_scale: jax.Array, min_scale: jax.Array | None) -> jax.Array:
    if spec.quant_method is QuantMethod.CUDA_GS and spec.compat is Compat.reference:
        return lax.stop_gradient(given_scale)
    scale = scale_within_range(given_scale)
    return scale if spec.quant_method in _KERNEL_METHODS else limit_scale(scale, min_scale)


@functools.cache
def _grid(spec: QuantizerSpec, kernel_rules: bool, clip: float | None) -> Grid:
    low, high = spec.limits
    return Grid(low, high, spec.rounding, kernel_rules, clip, spec.compat is not Compat.reference)
