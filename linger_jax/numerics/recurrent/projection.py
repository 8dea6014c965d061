"""Input and hidden products of a cell with their bias, in the format of its accumulator."""

from __future__ import annotations

import dataclasses

import jax

from linger_jax.numerics.recurrent import float64_integers
from linger_jax.numerics.recurrent.digit_product import Digits, digit_product, digits


@dataclasses.dataclass(frozen=True)
class Projection:
    """v -> sat_32(R(v W + b)) or sat_32(R(sat_32(v W + b))), N columns; or to fewer bits.

    Attributes:
      weight: digits of the integer weights [K, N].
      bias: float64 integers [N] in the product's format.
      factor: float64 scalar or [N], from the product's format to the accumulator's.
      operand_bits: width of the integers v.
      spare_bits: by how many bits v may be wider than that all the same.
      saturates_product: the inner saturation is there.
      result_bits: width of the outer saturation.
    """

    weight: Digits
    bias: jax.Array
    factor: jax.Array
    operand_bits: int
    spare_bits: int
    saturates_product: bool = False
    result_bits: int = 32

    def __call__(self, v: jax.Array) -> jax.Array:
        """float64 integers [..., N] of float32 integers [..., K]. Inside ``int64.region()``."""
        product = digit_product(digits(v, self.operand_bits), self.weight, spare_bits=self.spare_bits)
        bias, factor = (_over_rows(a, v) for a in (self.bias, self.factor))
        total = product + bias
        total = float64_integers.saturate(total, 32) if self.saturates_product else total
        return float64_integers.saturate(float64_integers.rescale(total, factor), self.result_bits)

    def columns(self, start: int, stop: int) -> Projection:
        """The projection to some of the columns."""
        weight = tuple(digit[:, start:stop] for digit in self.weight)
        return dataclasses.replace(self, weight=weight, bias=self.bias[start:stop])


def _over_rows(a: jax.Array, v: jax.Array) -> jax.Array:
    """One number, or one a column, as an array of v's rank."""
    return a.reshape((1,) * (v.ndim - a.ndim) + a.shape)
