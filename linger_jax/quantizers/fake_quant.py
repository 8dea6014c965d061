"""The fake-quantization kernels: one fused elementwise pass forward, straight-through gradients backward."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.config import RoundMode
from linger_jax.numerics import clip_symmetric, pack, round_half_up, round_scaled, unpack

_INFINITY = np.float32(np.inf)
_NAN = np.float32(np.nan)
_ZERO = np.float32(0.0)
_MINUS_LN2 = np.float32(-np.log(2.0))


@dataclasses.dataclass(frozen=True)
class Grid:
    """The static part of a fake quantization: limits, rounding, gradient rule and preceding clip. Hashable."""

    low: int
    """Smallest integer."""
    high: int
    """Largest integer."""
    rounding: RoundMode
    """Used by the NATIVE rules."""
    kernel_rules: bool
    """CUDA rules: ties go up whatever the rounding mode, and values on the two ends pass no gradient."""
    clip: float | None
    """Values are clipped to +-clip before they are scaled."""
    saturates_infinity: bool
    """An infinity, and a value that becomes one when it is scaled, is cut like any other; otherwise the NATIVE rules
    make it NaN, as the reference does."""


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def fake_quant(grid: Grid, x: jax.Array, scale: jax.Array) -> jax.Array:
    """Round to the grid and saturate; the gradient reaches ``x`` where nothing was cut.

    Args:
      grid: limits and rules.
      x: float32 array of any shape.
      scale: float32 scalar, a power of two; receives no gradient.

    Returns:
      float32 array of ``x``'s shape, integer / scale. NaN stays NaN.

    Source: docs/specification/quantizers.md sections 1, 4, 8 and 10.
    """
    return _forward(grid, x, scale)[0]


def _fake_quant_forward(grid: Grid, x: jax.Array, scale: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    y, inside, _ = _forward(grid, x, scale)
    if grid.clip is not None:
        inside = inside & _within(x, grid.clip)
    return y, (pack(inside), scale)


def _fake_quant_backward(
    grid: Grid, residuals: tuple[jax.Array, jax.Array], g: jax.Array
) -> tuple[jax.Array, jax.Array]:
    del grid
    inside, scale = residuals
    return _masked(unpack(inside, g.shape), g, scale), jnp.zeros((), jnp.float32)


fake_quant.defvjp(_fake_quant_forward, _fake_quant_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def fake_quant_with_threshold(
    grid: Grid, x: jax.Array, scale: jax.Array, threshold: jax.Array, learns: jax.Array
) -> jax.Array:
    """``fake_quant`` whose scale came from a learned threshold, which receives its gradient.

    Args:
      grid: limits and rules.
      x: float32 array of any shape.
      scale: float32 scalar, a power of two; receives no gradient.
      threshold: float32 [1], ``learning_data``; its value is not read here.
      learns: bool scalar; false blocks the threshold's gradient.

    Returns:
      float32 array of ``x``'s shape.

    Source: docs/specification/quantizers.md sections 4 and 8; the gradient is that of "Trained Quantization Thresholds"
    (Jain et al., 2019) without its normalisation.
    """
    del threshold, learns
    return _forward(grid, x, scale)[0]


def _threshold_forward(
    grid: Grid, x: jax.Array, scale: jax.Array, threshold: jax.Array, learns: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array, jax.Array, jax.Array]]:
    del threshold
    y, inside, clipped = _forward(grid, x, scale)
    passes = inside if grid.clip is None else inside & _within(x, grid.clip)
    # What the backward pass needs is kept, not the input: it would have to be quantized again there.
    return y, (jnp.where(inside, clipped - y, -y), pack(passes), scale, learns)


def _threshold_backward(
    grid: Grid, residuals: tuple[jax.Array, jax.Array, jax.Array, jax.Array], g: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array, None]:
    del grid
    distance, passes, scale, learns = residuals
    slope = jnp.where(learns, _MINUS_LN2 * jnp.sum(g * distance), _ZERO)
    return _masked(unpack(passes, g.shape), g, scale), jnp.zeros((), jnp.float32), slope.reshape(1), None


fake_quant_with_threshold.defvjp(_threshold_forward, _threshold_backward)


def passes_gradient(grid: Grid, x: jax.Array, scale: jax.Array) -> jax.Array:
    """Where ``fake_quant`` passes the gradient: bools of ``x``'s shape; ``scale`` may be an array of ``x``'s rank."""
    return _forward(grid, x, scale)[1]


def _forward(grid: Grid, x: jax.Array, scale: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Output, whether the gradient passes the saturation, and the clipped input."""
    low, high = np.float32(grid.low), np.float32(grid.high)
    clipped = x if grid.clip is None else clip_symmetric(x, np.float32(grid.clip))
    scaled = clipped * scale
    if grid.kernel_rules:
        whole = lax.clamp(low, round_half_up(scaled), high)
        return whole / scale, (whole != low) & (whole != high), clipped
    rounded = round_scaled(clipped, scale, grid.rounding)
    # The reference computes (round(v) - v) + v: NaN for an infinite v.
    is_cut = scaled == scaled if grid.saturates_infinity else lax.abs(scaled) < _INFINITY
    whole = jnp.where(is_cut, lax.clamp(low, rounded, high), _NAN)
    return whole / scale, (rounded >= low) & (rounded <= high), clipped


def _masked(passes: jax.Array, g: jax.Array, scale: jax.Array) -> jax.Array:
    """``g`` where it passes, else zero; a poisoned scale poisons the gradient too."""
    return jnp.where(passes, g, jnp.where(scale == scale, _ZERO, _NAN))


def _within(x: jax.Array, bound: float) -> jax.Array:
    return (x >= np.float32(-bound)) & (x <= np.float32(bound))
