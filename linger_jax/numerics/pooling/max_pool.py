"""Max pooling whose gradient is cheap on CPU.

XLA:CPU turns the gradient of a max pool (select-and-scatter) into one index array per axis, a windowed arg-max over
all of them and a scalar scatter: for a 2x2 pool some ten times the cost of the pool itself, and of the convolution
before it. The same gradient needs one byte per window: the position of its winner. It is found in the forward pass,
and the backward pass reads it without a scatter.

Only the way to the result differs. Values and gradients are those of the stock operator bit for bit (a zero gradient
may carry another sign): the first of several equal maxima takes the whole gradient, NaN loses to whatever follows it,
and overlapping windows are added in the order of the windows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.numerics.pooling.sliding_windows import Windows

LARGEST_WINDOW = 32
"""Elements in a window above which the stock operator is kept: the program grows with the window."""

NO_WINDOW = 255
"""Winner of a position that belongs to no window: no tap has this number."""


def max_pool(
    x: jax.Array,
    window_dimensions: Sequence[int],
    window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    base_dilation: Sequence[int],
    window_dilation: Sequence[int],
    *,
    fast: bool,
) -> jax.Array:
    """Maximum over windows, ``lax.reduce_window_max`` with the same arguments.

    Args:
      x: array of any rank, float or integer.
      window_dimensions, window_strides, base_dilation, window_dilation: one integer per axis of ``x``.
      padding: one (low, high) pair per axis; padded elements lie below every value.
      fast: on CPU, use the lowering of this module where it applies (floating point, no dilation, at most
        ``LARGEST_WINDOW`` elements in a window, padding not negative). Other platforms, and False, run the stock
        operator exactly. Forward-mode differentiation needs False.

    Returns:
      Array of ``x``'s dtype, shape per axis ``(padded - dilated_window) // stride + 1``.
    """
    windows = Windows(
        dimensions=tuple(window_dimensions),
        strides=tuple(window_strides),
        padding=tuple((low, high) for low, high in padding),
        dilation=tuple(window_dilation),
    )
    if fast and set(base_dilation) <= {1} and _applies(x, windows):
        return _pool(windows, x)
    return _stock(windows, x, tuple(base_dilation))


def _applies(x: jax.Array, windows: Windows) -> bool:
    return (
        jnp.issubdtype(x.dtype, jnp.floating)
        and not windows.cropped
        and set(windows.dilation) == {1}
        and 1 < windows.size <= LARGEST_WINDOW
        and math.prod(windows.output_shape(x.shape)) > 0
    )


def _stock(windows: Windows, x: jax.Array, base_dilation: tuple[int, ...] | None = None) -> jax.Array:
    lowest = -np.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).min
    return lax.reduce_window(
        x,
        np.asarray(lowest, x.dtype),
        lax.max,
        windows.dimensions,
        windows.strides,
        windows.padding,
        base_dilation,
        windows.dilation,
    )


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _pool(windows: Windows, x: jax.Array) -> jax.Array:
    return lax.platform_dependent(x, cpu=partial(_maximum, windows), default=partial(_stock, windows))


def _pool_fwd(windows: Windows, x: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    def stock(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        value = _stock(windows, x)
        return value, jnp.zeros(value.shape, jnp.uint8)

    def with_winner(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        return _maximum(windows, x), _winner(windows, x)

    value, winner = lax.platform_dependent(x, cpu=with_winner, default=stock)
    # Each platform reads one of the two residuals; the other is dead code in its program.
    return value, (x, winner)


def _pool_bwd(windows: Windows, residuals: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array]:
    x, winner = residuals

    def stock(x: jax.Array, winner: jax.Array, g: jax.Array) -> jax.Array:
        return jax.vjp(partial(_stock, windows), x)[1](g)[0]

    def from_winner(x: jax.Array, winner: jax.Array, g: jax.Array) -> jax.Array:
        spread = _spread_tiles if windows.tile else _spread_overlapping
        return spread(windows, x.shape, winner, g)

    return (lax.platform_dependent(x, winner, g, cpu=from_winner, default=stock),)


_pool.defvjp(_pool_fwd, _pool_bwd)


def _maximum(windows: Windows, x: jax.Array) -> jax.Array:
    value, *others = windows.elements(windows.pad(x, -np.inf))
    for element in others:
        value = lax.max(value, element)
    return value


def _winner(windows: Windows, x: jax.Array) -> jax.Array:
    """Tap of the element that takes the gradient of its window: uint8 of the output's shape.

    The fold keeps what it has while ``kept >= element`` and padding takes part as -inf: the rule of the stock gradient,
    ties and NaN included.
    """
    best, *others = windows.elements(windows.pad(x, -np.inf))
    winner = jnp.zeros(best.shape, jnp.uint8)
    for tap, element in enumerate(others, 1):
        keep = best >= element
        best = lax.select(keep, best, element)
        winner = lax.select(keep, winner, jnp.full_like(winner, tap))
    return winner


def _spread_overlapping(windows: Windows, shape: tuple[int, ...], winner: jax.Array, g: jax.Array) -> jax.Array:
    """Gradient of windows that overlap, have padding or leave gaps."""

    def term(tap: int, g: jax.Array, winner: jax.Array) -> jax.Array:
        return lax.select(winner == np.uint8(tap), g, jnp.zeros_like(g))

    return windows.add_back(shape, [(g, 0.0), (winner, NO_WINDOW)], term)


def _spread_tiles(windows: Windows, shape: tuple[int, ...], winner: jax.Array, g: jax.Array) -> jax.Array:
    """Gradient where windows tile the operand: each element compares its own tap with its window's winner.

    One elementwise pass over [out_0, window_0, out_1, window_1, ...], which is the operand's own memory order.
    """
    interleaved = [size for pair in zip(g.shape, windows.dimensions, strict=True) for size in pair]
    output_axes = range(0, 2 * g.ndim, 2)
    taps = np.arange(windows.size, dtype=np.uint8).reshape(windows.dimensions)
    own = lax.broadcast_in_dim(taps, interleaved, range(1, 2 * g.ndim, 2))
    taken = lax.broadcast_in_dim(winner, interleaved, output_axes)
    spread = lax.broadcast_in_dim(g, interleaved, output_axes)
    gradient = lax.select(taken == own, spread, jnp.zeros_like(spread))
    covered = [size * taps for size, taps in zip(g.shape, windows.dimensions, strict=True)]
    rest = [(0, size - part, 0) for size, part in zip(shape, covered, strict=True)]
    return lax.pad(gradient.reshape(covered), np.zeros((), g.dtype), rest)
