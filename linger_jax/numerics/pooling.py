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

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

LARGEST_WINDOW = 32
"""Elements in a window above which the stock operator is kept: the program grows with the window."""


@dataclass(frozen=True, kw_only=True)
class PoolWindow:
    """Full-rank window of a pooling operator, as in the parameters of `lax.reduce_window_max`.

    Invariant: every field has one entry per axis of the operand; `padding` holds (low, high) pairs.
    """

    dimensions: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    base_dilation: tuple[int, ...]
    window_dilation: tuple[int, ...]

    @property
    def size(self) -> int:
        """Elements in one window."""
        return math.prod(self.dimensions)

    @property
    def offsets(self) -> list[tuple[int, ...]]:
        """Positions inside a window in row-major order; an index in this list is what the forward pass stores."""
        return list(itertools.product(*(range(d) for d in self.dimensions)))

    @property
    def tiles(self) -> bool:
        """Whether windows lie side by side without padding, so that each element belongs to one window at most."""
        return self.dimensions == self.strides and not any(low or high for low, high in self.padding)


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
    """Maximum over windows, `lax.reduce_window_max` with the same arguments.

    Args:
        x: array of any rank, float or integer.
        window_dimensions, window_strides, base_dilation, window_dilation: one integer per axis of `x`.
        padding: one (low, high) pair per axis; padded elements lie below every value.
        fast: on CPU, use the lowering of this module where it applies (floating point, no dilation, at most
            `LARGEST_WINDOW` elements in a window, padding not negative). Other platforms, and False, run the stock
            operator exactly. Forward-mode differentiation needs False.

    Returns:
        Array of `x`'s dtype, shape per axis `(padded - dilated_window) // stride + 1`.
    """
    window = PoolWindow(
        dimensions=tuple(window_dimensions),
        strides=tuple(window_strides),
        padding=tuple((low, high) for low, high in padding),
        base_dilation=tuple(base_dilation),
        window_dilation=tuple(window_dilation),
    )
    if fast and _applies(x, window):
        return _pool(window, x)
    return _stock(window, x)


def _applies(x: jax.Array, window: PoolWindow) -> bool:
    dilated = any(d != 1 for d in (*window.base_dilation, *window.window_dilation))
    negative = any(low < 0 or high < 0 for low, high in window.padding)
    return (
        jnp.issubdtype(x.dtype, jnp.floating)
        and not dilated
        and not negative
        and 1 < window.size <= LARGEST_WINDOW
        and math.prod(_output_shape(window, x.shape)) > 0
    )


def _stock(window: PoolWindow, x: jax.Array) -> jax.Array:
    lowest = -np.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).min
    return lax.reduce_window(
        x,
        np.asarray(lowest, x.dtype),
        lax.max,
        window.dimensions,
        window.strides,
        window.padding,
        window.base_dilation,
        window.window_dilation,
    )


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _pool(window: PoolWindow, x: jax.Array) -> jax.Array:
    return lax.platform_dependent(x, cpu=partial(_maximum, window), default=partial(_stock, window))


def _pool_fwd(window: PoolWindow, x: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    def stock(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        value = _stock(window, x)
        return value, jnp.zeros(value.shape, jnp.uint8)

    def with_winner(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        return _maximum(window, x), _winner(window, x)

    value, winner = lax.platform_dependent(x, cpu=with_winner, default=stock)
    # Each platform reads one of the two residuals; the other is dead code in its program.
    return value, (x, winner)


def _pool_bwd(window: PoolWindow, residuals: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array]:
    x, winner = residuals

    def stock(x: jax.Array, winner: jax.Array, g: jax.Array) -> jax.Array:
        return jax.vjp(partial(_stock, window), x)[1](g)[0]

    def from_winner(x: jax.Array, winner: jax.Array, g: jax.Array) -> jax.Array:
        spread = _spread_tiles if window.tiles else _spread_windows
        return spread(window, x.shape, winner, g)

    return (lax.platform_dependent(x, winner, g, cpu=from_winner, default=stock),)


_pool.defvjp(_pool_fwd, _pool_bwd)


def _output_shape(window: PoolWindow, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Output shape without dilation."""
    axes = zip(shape, window.dimensions, window.strides, window.padding, strict=True)
    return tuple((size + low + high - taps) // stride + 1 for size, taps, stride, (low, high) in axes)


def _window_elements(window: PoolWindow, padded: jax.Array) -> list[jax.Array]:
    """One strided slice per window offset, each of the output's shape, from an operand that has its padding."""
    axes = zip(padded.shape, window.dimensions, window.strides, strict=True)
    spans = [(size - taps) // stride * stride + 1 for size, taps, stride in axes]
    return [
        lax.slice(padded, offset, [o + span for o, span in zip(offset, spans, strict=True)], window.strides)
        for offset in window.offsets
    ]


def _pad(window: PoolWindow, x: jax.Array) -> jax.Array:
    if not any(low or high for low, high in window.padding):
        return x
    return lax.pad(x, np.asarray(-np.inf, x.dtype), [(low, high, 0) for low, high in window.padding])


def _maximum(window: PoolWindow, x: jax.Array) -> jax.Array:
    value, *others = _window_elements(window, _pad(window, x))
    for element in others:
        value = lax.max(value, element)
    return value


def _winner(window: PoolWindow, x: jax.Array) -> jax.Array:
    """Row-major position, in its window, of the element that takes the gradient: uint8 of the output's shape.

    The fold keeps what it has while `kept >= element` and padding takes part as -inf: the rule of the stock gradient,
    ties and NaN included.
    """
    best, *others = _window_elements(window, _pad(window, x))
    winner = jnp.zeros(best.shape, jnp.uint8)
    for position, element in enumerate(others, 1):
        keep = best >= element
        best = lax.select(keep, best, element)
        winner = lax.select(keep, winner, jnp.full_like(winner, position))
    return winner


def _spread_tiles(window: PoolWindow, shape: tuple[int, ...], winner: jax.Array, g: jax.Array) -> jax.Array:
    """Gradient where windows tile the operand: each element compares its position with its window's winner.

    One elementwise pass over [out_0, window_0, out_1, window_1, ...], which is the operand's own memory order.
    """
    interleaved = [size for pair in zip(g.shape, window.dimensions, strict=True) for size in pair]
    output_axes = range(0, 2 * g.ndim, 2)
    positions = np.arange(window.size, dtype=np.uint8).reshape(window.dimensions)
    own = lax.broadcast_in_dim(positions, interleaved, range(1, 2 * g.ndim, 2))
    taken = lax.broadcast_in_dim(winner, interleaved, output_axes)
    spread = lax.broadcast_in_dim(g, interleaved, output_axes)
    gradient = lax.select(taken == own, spread, jnp.zeros_like(spread))
    covered = [size * taps for size, taps in zip(g.shape, window.dimensions, strict=True)]
    rest = [(0, size - part, 0) for size, part in zip(shape, covered, strict=True)]
    return lax.pad(gradient.reshape(covered), np.zeros((), g.dtype), rest)


def _spread_windows(window: PoolWindow, shape: tuple[int, ...], winner: jax.Array, g: jax.Array) -> jax.Array:
    """Gradient of overlapping or padded windows.

    Padded elements with the same remainder by the stride (a phase) meet the same window offsets, so a phase is a sum
    of shifted `g`, masked by the winner; the phases are then interleaved. Offsets run downwards, which adds the
    windows in row-major order.
    """
    rank = g.ndim
    padded = [size + low + high for size, (low, high) in zip(shape, window.padding, strict=True)]
    blocks = [-(-size // stride) for size, stride in zip(padded, window.strides, strict=True)]
    reach = [(taps - 1) // stride for taps, stride in zip(window.dimensions, window.strides, strict=True)]
    margins = [(r, max(0, b - size), 0) for r, b, size in zip(reach, blocks, g.shape, strict=True)]
    g = lax.pad(g, np.zeros((), g.dtype), margins)
    winner = lax.pad(winner, np.uint8(255), margins)
    position = {offset: index for index, offset in enumerate(window.offsets)}

    def phase_gradient(phase: tuple[int, ...]) -> jax.Array:
        axes = zip(phase, window.dimensions, window.strides, strict=True)
        hops = [range((taps - 1 - p) // stride, -1, -1) if p < taps else range(0) for p, taps, stride in axes]
        total = jnp.zeros(blocks, g.dtype)
        for hop in itertools.product(*hops):
            offset = tuple(p + h * stride for p, h, stride in zip(phase, hop, window.strides, strict=True))
            start = [r - h for r, h in zip(reach, hop, strict=True)]
            limit = [s + b for s, b in zip(start, blocks, strict=True)]
            taken = lax.slice(winner, start, limit) == np.uint8(position[offset])
            total += lax.select(taken, lax.slice(g, start, limit), jnp.zeros(blocks, g.dtype))
        return total

    def interleave(phase: tuple[int, ...]) -> jax.Array:
        """[blocks of axes < len(phase)..., then blocks and phases of the axes after, block before phase]."""
        axis = len(phase)
        if axis == rank:
            return phase_gradient(phase)
        parts = [interleave((*phase, p)) for p in range(window.strides[axis])]
        return parts[0] if len(parts) == 1 else jnp.stack(parts, axis + 1)

    interleaved = interleave(())
    full = interleaved.reshape([b * stride for b, stride in zip(blocks, window.strides, strict=True)])
    start = [low for low, _ in window.padding]
    # A stride may leave a tail of the operand outside every window: the blocks cover it, with zeros.
    return lax.slice(full, start, [s + size for s, size in zip(start, shape, strict=True)])
