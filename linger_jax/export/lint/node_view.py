"""A node with everything that checks ask about it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from linger_jax.export.onnx import FileNode
from linger_jax.kinds import OnnxOperator


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
    """What is known of a tensor.

    Attributes:
      name: in the file.
      shape: None where it could not be found out.
      scale: steps per unit, None for floats and indices.
      bits: width of a quantized tensor, or of one that holds indices.
      constant: its values, where the file stores them.
      maker: index of the node that makes it; None for graph inputs and constants.
    """

    name: str
    shape: tuple[int, ...] | None = None
    scale: float | None = None
    bits: int | None = None
    constant: npt.NDArray[Any] | None = None
    maker: int | None = None

    @property
    def quantized(self) -> bool:
        """Whether it holds integers on a grid."""
        return self.scale is not None

    @property
    def size(self) -> int | None:
        """Bytes on the device."""
        if self.shape is None:
            return None
        bits = self.bits if self.bits is not None else 8 * self.constant.itemsize if self.constant is not None else 32
        return math.prod(self.shape) * next(width for width in (1, 2, 4, 8) if bits <= 8 * width)

    @property
    def text(self) -> str:
        """Its shape as people write it."""
        return "x".join(map(str, self.shape)) if self.shape else "scalar" if self.shape == () else "unknown"


@dataclasses.dataclass(frozen=True, eq=False)
class NodeView:
    """A node of a file.

    Attributes:
      index: position in the file.
      node: the node.
      operator: None for one that is not known.
      inputs: None where an optional one is left out.
      outputs: what it makes.
    """

    index: int
    node: FileNode
    operator: OnnxOperator | None
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]

    @property
    def written(self) -> str:
        """The operator's name in the file, without a domain."""
        return self.node.written

    def has(self, name: str) -> bool:
        """Whether an attribute is there."""
        return self.node.attributes.get(name) is not None

    def number(self, name: str) -> float | None:
        """A number, or None where it is missing or no number."""
        value = self.node.attributes.get(name)
        return float(value) if isinstance(value, int | float) else None

    def integer(self, name: str, default: int | None = None) -> int | None:
        """An integer, or the default."""
        value = self.number(name)
        return default if value is None else int(value)

    def integers(self, name: str) -> tuple[int, ...] | None:
        """A list of integers, or None."""
        value = self.node.attributes.get(name)
        if isinstance(value, str | bytes) or not isinstance(value, Sequence):
            return None
        return tuple(int(v) for v in value)

    def input(self, position: int) -> Tensor | None:
        """An input, or None."""
        return self.inputs[position] if position < len(self.inputs) else None

    def shape(self, position: int = 0) -> tuple[int, ...] | None:
        """Shape of an input, or None."""
        tensor = self.input(position)
        return None if tensor is None else tensor.shape
