"""Sliding windows as plain array operations: the elements under each window offset, and the way back.

A window operator is a small loop over window offsets. For one offset, the elements it meets are a strided slice of the
padded operand; the adjoint adds values at the places those slices came from. XLA:CPU runs both as fused elementwise
passes, which its own window operators (scatter, grouped convolution) are not.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Where windows lie on an operand.

    Invariant: every field has one entry per axis of the operand (1, 1, (0, 0), 1 for an axis that is not windowed);
    ``padding`` holds (low, high) pairs, ``dilation`` the distance between neighbouring elements of a window.
    """

    dimensions: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]

    @property
    def size(self) -> int:
        """Elements in one window."""
        return math.prod(self.dimensions)

    @cached_property
    def offsets(self) -> tuple[tuple[int, ...], ...]:
        """Offsets of a window's elements from its corner, in row-major order; "tap" is an index in this tuple."""
        axes = zip(self.dimensions, self.dilation, strict=True)
        return tuple(itertools.product(*(range(0, size * step, step) for size, step in axes)))

    @property
    def padded(self) -> bool:
        """Whether any axis has padding."""
        return any(low or high for low, high in self.padding)

    @property
    def cropped(self) -> bool:
        """Whether any axis has negative padding."""
        return any(low < 0 or high < 0 for low, high in self.padding)

    @property
    def tile(self) -> bool:
        """Whether windows lie side by side without padding, so that each element belongs to one window at most."""
        return self.dimensions == self.strides and not self.padded and set(self.dilation) == {1}

    def output_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Number of windows along each axis of an operand of this shape."""
        reach = [(size - 1) * step + 1 for size, step in zip(self.dimensions, self.dilation, strict=True)]
        axes = zip(shape, reach, self.strides, self.padding, strict=True)
        return tuple((size + low + high - taps) // stride + 1 for size, taps, stride, (low, high) in axes)

    def pad(self, x: jax.Array, value: float) -> jax.Array:
        """``x`` with its padding."""
        if not self.padded:
            return x
        return lax.pad(x, np.asarray(value, x.dtype), [(low, high, 0) for low, high in self.padding])

    def elements(self, padded: jax.Array) -> list[jax.Array]:
        """One slice per tap, each with one element per window, from an operand that has its padding."""
        reach = [(size - 1) * step + 1 for size, step in zip(self.dimensions, self.dilation, strict=True)]
        axes = zip(padded.shape, reach, self.strides, strict=True)
        spans = [(size - taps) // stride * stride + 1 for size, taps, stride in axes]
        return [
            lax.slice(padded, offset, [o + span for o, span in zip(offset, spans, strict=True)], self.strides)
            for offset in self.offsets
        ]

    def add_back(
        self,
        shape: Sequence[int],
        values: Sequence[tuple[jax.Array, float]],
        term: Callable[..., jax.Array],
    ) -> jax.Array:
        """The adjoint of ``elements`` and ``pad``: a sum over the windows that hold an element.

        Elements of the padded operand with the same remainder by the stride (a phase) meet the same taps, so a phase
        is a sum of shifted arrays, and the phases are interleaved at the end. Windows are added in row-major order.

        Args:
          shape: the operand's shape, [N, ..., C] say.
          values: arrays with one entry per window, each with what a position without a window reads.
          term: what window offset ``tap`` contributes, ``term(tap, *blocks) -> array``, all of the blocks' shape.

        Returns:
          Array of the operand's shape and the terms' dtype.
        """
        grid = self.output_shape(shape)
        padded = [size + low + high for size, (low, high) in zip(shape, self.padding, strict=True)]
        blocks = [-(-size // stride) for size, stride in zip(padded, self.strides, strict=True)]
        reach = [last // stride for last, stride in zip(self.offsets[-1], self.strides, strict=True)]
        margins = [(r, max(0, b - size), 0) for r, b, size in zip(reach, blocks, grid, strict=True)]
        arrays = [lax.pad(array, np.asarray(fill, array.dtype), margins) for array, fill in values]

        def shifted(array: jax.Array, hops: Sequence[int]) -> jax.Array:
            start = [r - hop for r, hop in zip(reach, hops, strict=True)]
            return lax.slice(array, start, [s + b for s, b in zip(start, blocks, strict=True)])

        def phase_sum(phase: tuple[int, ...]) -> jax.Array:
            total = jnp.zeros(blocks, values[0][0].dtype)
            for tap in reversed(range(self.size)):
                parts = [divmod(o, stride) for o, stride in zip(self.offsets[tap], self.strides, strict=True)]
                if tuple(remainder for _, remainder in parts) == phase:
                    hops = [hop for hop, _ in parts]
                    total += term(tap, *(shifted(array, hops) for array in arrays))
            return total

        def interleave(phase: tuple[int, ...]) -> jax.Array:
            axis = len(phase)
            if axis == len(blocks):
                return phase_sum(phase)
            parts = [interleave((*phase, p)) for p in range(self.strides[axis])]
            return parts[0] if len(parts) == 1 else jnp.stack(parts, axis + 1)

        covered = [b * stride for b, stride in zip(blocks, self.strides, strict=True)]
        start = [low for low, _ in self.padding]
        limit = [s + size for s, size in zip(start, shape, strict=True)]
        return lax.slice(interleave(()).reshape(covered), start, limit)
