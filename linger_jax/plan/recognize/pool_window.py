"""The window of a pool, and what the integer path of an average divides its sums by."""

from __future__ import annotations

import math

import numpy as np

from linger_jax.plan.graph import Window

Counts = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


def integer_divisor(window: Window, plane: tuple[int, ...], count: Counts) -> Counts:
    """Divisor of the integer path where the float average divides by ``count``.

    The two differ in one case: an average in PyTorch's ``ceil_mode`` that counts its padding. There the last window
    overhangs the padded plane, the float average leaves the overhang out of its count, and the chip divides by the
    whole area all the same (docs/specification/layers.md section 9).

    Args:
      window: the window; an overhang is the part of the right padding beyond the left one.
      plane: extents of the input's spatial axes.
      count: divisor of each output, [N, plane..., C] or less, or a scalar.

    Returns:
      ``count``, or the area of the window as a scalar.
    """
    if count.ndim != len(plane) + 2:
        return count
    padded = _cells(window, plane, counts_padding=True)
    if np.array_equal(padded, _cells(window, plane, counts_padding=False)):
        return count
    overhangs = any(high > low for low, high in window.padding)
    if overhangs and np.array_equal(count, np.broadcast_to(padded[None, ..., None], count.shape)):
        return np.asarray(math.prod(window.kernel), np.int64)
    return count


def _cells(window: Window, plane: tuple[int, ...], *, counts_padding: bool) -> Counts:
    """Cells of each window inside the plane, or inside the plane with its symmetric padding: [output plane...]."""
    cells = np.ones((1,) * len(plane), np.int64)
    for axis, (extent, kernel, stride, (low, high)) in enumerate(
        zip(plane, window.kernel, window.strides, window.padding, strict=True)
    ):
        starts = np.arange((extent + low + high - kernel) // stride + 1) * stride - low
        margin = low if counts_padding else 0
        inside = np.minimum(starts + kernel, extent + margin) - np.maximum(starts, -margin)
        cells = cells * inside.reshape([-1 if a == axis else 1 for a in range(len(plane))])
    return cells
