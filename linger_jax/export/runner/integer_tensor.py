"""Values between the nodes of a file that runs in integers."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import numpy as np

from linger_jax.numerics import Accumulator, is_power_of_two

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class IntegerTensor:
    """Integers on a grid.

    Attributes:
      value: int32, ``value / scale`` is the real number.
      scale: steps per unit, a power of two.
      bits: width that the values fit in.
      declared: another scale that the file states for the tensor: linger labels the output of a recurrent layer with
        its output quantizer's scale, the values lie on the hidden state's (docs/codes.md R7).
    """

    value: Array
    scale: float
    bits: int
    declared: float | None = None

    @property
    def fraction_bits(self) -> int:
        """log2 of the scale: the n of the Qn format."""
        return fraction_bits(self.scale)

    def real(self) -> Array:
        """float32 of the real numbers."""
        return self.value.astype(np.float32) / np.float32(self.scale)

    def accumulator(self) -> Accumulator:
        """The integers as a sum of one."""
        return Accumulator.of(self.value, 2 ** (self.bits - 1))

    def holds(self, value: Array) -> IntegerTensor:
        """Other integers on the same grid."""
        return dataclasses.replace(self, value=value)


jax.tree_util.register_dataclass(IntegerTensor, data_fields=["value"], meta_fields=["scale", "bits", "declared"])

Value = Any
"""An IntegerTensor, a float or index array, or a constant of the file (numpy)."""


def fraction_bits(scale: float) -> int:
    """log2 of a power of two."""
    assert is_power_of_two(scale), scale
    return math.frexp(scale)[1] - 1


def limits(bits: int) -> tuple[int, int]:
    """Least and largest integer of a width."""
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
