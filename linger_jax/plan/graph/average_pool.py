"""An average over windows, as the integer path needs it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Window:
    """A pooling window over the spatial axes of an NHWC (or NWC) value, one entry an axis of the plane."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class AveragePool:
    """The sum and the division of an average.

    Attributes:
      window: over the plane.
      divisor: of the integer path, of each output [N, plane..., C] or less, or a scalar.
      total: the sum over the window, of an array.
      after: what moves axes of length one between the sum and the division, in order.
      whole_plane: the window is the plane, written as a reduction.
    """

    window: Window
    divisor: np.ndarray[Any, np.dtype[np.int64]]
    total: Callable[..., list[Any]]
    after: tuple[Callable[..., list[Any]], ...]
    whole_plane: bool
