"""Input and hidden products of a cell with their bias, in the format of its accumulator."""

from __future__ import annotations

import dataclasses

import jax

from linger_jax.numerics.recurrent import float64_integers
from linger_jax.numerics.recurrent.digit_product import Digits, digit_product, digits


@dataclasses.dataclass(frozen=True)
class Projection:
    """v -> sat_32(R(v W + b)), N columns.

    Attributes:
      weight: digits of the integer weights [K, N].
      bias: float64 integers [N] in the product's format.
      factor: float64 scalar, from the product's format to the accumulator's.
      operand_bits: width of the integers v.
      spare_bits: by how many bits v may be wider than that all the same.
    """

    weight: Digits
    bias: jax.Array
    factor: jax.Array
    operand_bits: int
    spare_bits: int

    def __call__(self, v: jax.Array) -> jax.Array:
        """float64 integers [..., N] of float32 integers [..., K]. Inside ``int64.region()``."""
        product = digit_product(digits(v, self.operand_bits), self.weight, spare_bits=self.spare_bits)
        bias = self.bias.reshape((1,) * (v.ndim - 1) + self.bias.shape)
        return float64_integers.saturate(float64_integers.rescale(product + bias, self.factor), 32)

    def columns(self, start: int, stop: int) -> Projection:
        """The projection to some of the columns."""
        weight = tuple(digit[:, start:stop] for digit in self.weight)
        return dataclasses.replace(self, weight=weight, bias=self.bias[start:stop])
