"""All results of a function of 8 bits, for every scale that a quantizer can have."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import lax

from linger_jax.compat import evaluated_now
from linger_jax.config import RoundMode
from linger_jax.numerics.clipping import saturated_int32
from linger_jax.numerics.look_up.split_rounding import round_split
from linger_jax.numerics.scale_rule import LARGEST_EXPONENT, exponent_of_power_of_two

OPERAND_BITS = 8
"""Of the widest operand that has a table."""
FIRST_OPERAND = -(2 ** (OPERAND_BITS - 1))
"""The integer whose result comes first."""
TABLE_SIZE = 2**OPERAND_BITS
"""Results of a table."""
_SMALLEST = 2.0**-100
"""No step of any grid: a smaller magnitude counts as this one, since XLA flushes float32 denormals to zero."""
_NAN = np.float32(np.nan)


@dataclasses.dataclass(frozen=True, eq=False)
class FunctionTable:
    """The results of a function f at v / 2^e, for each exponent e from 0 to 23 and each v from -128 to 127.

    A result is the sum of two float32 numbers, 48 bits of the float64 number that the host computed. So the integer of
    a result follows exactly from its scale, in float32 alone: the same on every device, with and without ``jit``, and
    in a file.

    Attributes:
      high: float32 [24, 256], the results rounded to float32; infinite where f is, and 0 where it is NaN.
      low: float32 [24, 256], what rounding left over; 0 where f is infinite.
      within: a float32 number at which f is finite; 0 where none was found.
    """

    high: npt.NDArray[np.float32]
    low: npt.NDArray[np.float32]
    within: np.float32

    def look_up(self, x: jax.Array, scale: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The results for a quantized array.

        Args:
          x: float32 of any shape: integers from -128 to 127, divided by ``scale``.
          scale: float32 scalar, 2^0 to 2^23.

        Returns:
          float32 of ``x``'s shape, twice: ``high`` and ``low``. NaN where ``x`` is, and everywhere for another scale.
        """
        exponent = exponent_of_power_of_two(scale)
        known = (exponent >= 0) & (exponent <= LARGEST_EXPONENT)
        row = lax.clamp(np.int32(0), exponent, np.int32(LARGEST_EXPONENT))
        place = saturated_int32(x * scale) - np.int32(FIRST_OPERAND)
        high, low = (
            jnp.take(lax.dynamic_index_in_dim(jnp.asarray(part), row, keepdims=False), place, mode="clip")
            for part in (self.high, self.low)
        )
        return jnp.where(known & (x == x), high, _NAN), low

    def integers(self, exponent: int, scale: float, bits: int, mode: RoundMode) -> npt.NDArray[np.int32]:
        """The 256 results on a grid, as a file holds them.

        Args:
          exponent: log2 of the operand's scale, 0 to 23.
          scale: of the results, a power of two.
          bits: of the results.
          mode: rounding.

        Returns:
          int32 [256], in the order of the operand's integers.
        """
        with evaluated_now():
            high, low = (jnp.asarray(part[exponent]) for part in (self.high, self.low))
            steps = on_grid(high, low, jnp.float32(scale), bits, mode)
            return np.asarray(saturated_int32(steps))


def on_grid(high: jax.Array, low: jax.Array, scale: jax.Array, bits: int, mode: RoundMode) -> jax.Array:
    """Looked up results as whole numbers of a width: ``round_split``, saturated.

    Args:
      high, low: float32 of any shape.
      scale: float32 scalar, a power of two.
      bits: of the results.
      mode: rounding.

    Returns:
      float32 of the same shape; an infinity is the end of the grid, NaN stays NaN.
    """
    least, most = np.float32(-(2.0 ** (bits - 1))), np.float32(2.0 ** (bits - 1) - 1)
    return lax.clamp(least, round_split(high, low, scale, mode), most)


def function_table(function: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]) -> FunctionTable:
    """The table of a function.

    Args:
      function: of float64 arrays, element by element; may give infinities and NaN.
    """
    integers = np.arange(FIRST_OPERAND, FIRST_OPERAND + TABLE_SIZE, dtype=np.float64)
    operands = integers * 2.0 ** -np.arange(LARGEST_EXPONENT + 1, dtype=np.float64)[:, None]
    with np.errstate(all="ignore"):
        results = np.asarray(function(operands), np.float64)
    results = np.where(np.isnan(results), 0.0, results)
    small = (results != 0) & (np.abs(results) < _SMALLEST)
    results = np.where(small, np.copysign(_SMALLEST, results), results)
    with np.errstate(over="ignore", invalid="ignore"):
        high = results.astype(np.float32)
        low = np.where(np.isfinite(high), results - high.astype(np.float64), 0.0).astype(np.float32)
    finite = operands[np.isfinite(high)]
    return FunctionTable(high, low, np.float32(finite[np.abs(finite - 1.0).argmin()] if finite.size else 0.0))
