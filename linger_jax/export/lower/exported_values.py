"""Values of an exported graph: which ONNX tensor, and how its axes lie to Flax's.

A Flax model is channels-last, a file channels-first (docs/decisions.md D20). A value remembers in which order its
tensor holds the Flax axes; a Transpose node is written only where an operator needs another order than the one at hand.
A reshape that flattens an image keeps the tensor's element order and remembers it; the Dense behind it permutes its
weights.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from linger_jax.typing import HostArray

Axes = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Grid:
    """Integers of a width at a scale."""

    scale: float
    bits: int


@dataclasses.dataclass(frozen=True, eq=False)
class TensorValue:
    """A value that a tensor holds.

    Attributes:
      tensor: its ONNX tensor.
      shape: Flax's shape.
      axes: the Flax axis at each axis of the tensor.
      dtype: of Flax's value.
      grid: where the tensor holds integers.
      image: the last Flax axis counts channels of an image, which leave the graph channels-first.
      order: for a last axis that was flattened in the tensor's order: Flax's index at each place.
    """

    tensor: str
    shape: tuple[int, ...]
    axes: Axes
    dtype: np.dtype[Any]
    grid: Grid | None = None
    image: bool = False
    order: HostArray | None = None

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def tensor_shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return tuple(self.shape[axis] for axis in self.axes)

    def position(self, axis: int) -> int:
        """Where the tensor holds a Flax axis."""
        return self.axes.index(axis % self.rank)

    def laid(self, shape: tuple[int, ...], axes: Axes) -> TensorValue:
        """The value with another shape, its axes in an order."""
        return dataclasses.replace(self, shape=shape, axes=axes)


@dataclasses.dataclass(frozen=True, eq=False)
class HostValue:
    """A value that depends on variables and constants alone.

    Attributes:
      array: real numbers, or integers and booleans as they are.
      grid: where the model has quantized it.
    """

    array: HostArray
    grid: Grid | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Flax's shape."""
        return tuple(self.array.shape)


ExportedValue = TensorValue | HostValue


def channels_first(rank: int) -> Axes:
    """Flax axes (N, plane..., C) in a file's order (N, C, plane...)."""
    return (0, rank - 1, *range(1, rank - 1))


def flax_order(rank: int) -> Axes:
    """Flax's own order."""
    return tuple(range(rank))
