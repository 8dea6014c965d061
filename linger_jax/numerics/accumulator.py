"""Integer sums that know their bound: 32 bits wide where that is enough, 64 bits where it is not.

A layer's sum of integers is exact, whatever its size (docs/specification/onnx_export.md section 3, "accumulate
exactly"): nothing saturates before the result is brought to the output's grid. Processors are fast in 32 bits, so the
largest magnitude that a sum can have, known when tracing, decides its width.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import lax

from linger_jax.config import RoundMode
from linger_jax.numerics import int64
from linger_jax.numerics.clipping import saturated_int32

LARGEST_INT32 = 2**31 - 1
EXACT_BITS = 24
"""Widths up to which float32 holds every integer."""
_NARROW_BITS = 16
"""Widths up to which a 32-bit sum can be shifted left until it saturates, without leaving 32 bits."""
_MOST_LEFT = 31
"""Left shift of a shift that is not known when tracing, at most: beyond it every result saturates."""


@dataclasses.dataclass(frozen=True)
class Accumulator:
    """Exact integers.

    Attributes:
      value: int32 where ``most`` fits in it, else int64 (readable only inside ``int64.region()``).
      most: largest magnitude that an element can have.
    """

    value: jax.Array
    most: int

    @classmethod
    def of(cls, value: jax.Array | npt.NDArray[np.integer], most: int) -> Accumulator:
        """Integers of any width as a sum, converted to the width that ``most`` asks for."""
        with int64.region():
            kind = np.int32 if most <= LARGEST_INT32 else np.int64
            if isinstance(value, np.ndarray):
                return cls(jnp.asarray(value.astype(kind)), most)
            return cls(lax.convert_element_type(value, kind), most)

    def __add__(self, other: Accumulator) -> Accumulator:
        """The sum, of broadcastable shapes of one rank."""
        most = self.most + other.most
        with int64.region():
            return Accumulator(Accumulator.of(self.value, most).value + Accumulator.of(other.value, most).value, most)

    def __mul__(self, other: Accumulator) -> Accumulator:
        """The product, element by element."""
        most = self.most * other.most
        with int64.region():
            return Accumulator(Accumulator.of(self.value, most).value * Accumulator.of(other.value, most).value, most)

    def shifted(self, shift: int | jax.Array, mode: RoundMode) -> Accumulator:
        """value / 2^shift rounded to integers, nothing saturated.

        Args:
          shift: a Python integer, or an int32 scalar of at least -31; negative: a left shift.
          mode: rounding; ``ceil`` computes as ``round``, which is what the reference does for it.
        """
        left = max(0, -shift) if isinstance(shift, int) else _MOST_LEFT
        most = self.most << left
        with int64.region():
            value = Accumulator.of(self.value, most).value
            if isinstance(shift, int):
                return Accumulator(_right(value, shift, mode) if shift > 0 else _left(value, -shift), most)
            down = _right(value, lax.max(shift, np.int32(1)), mode)
            up = _left(value, lax.clamp(np.int32(0), -shift, np.int32(_MOST_LEFT)))
            return Accumulator(jnp.where(shift > 0, down, up), most)

    def requantized(self, shift: int | jax.Array, bits: int, mode: RoundMode, *, as_float32: bool = True) -> jax.Array:
        """clip(round(value / 2^shift)): the integers of a result.

        Args:
          shift: a Python integer, or an int32 scalar; negative: a left shift.
          bits: width of the result; beyond it saturates.
          mode: as in ``shifted``.
          as_float32: a result of more than 24 bits has the 24 significant ones that float32 holds, ties to even:
            values between layers are float32.

        Returns:
          int32.

        Source: docs/specification/onnx_export.md section 3, docs/specification/quantizers.md section 1.
        """
        low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        with int64.region():
            value = self.value if bits <= _NARROW_BITS else int64.of(self.value)
            kind = value.dtype.type
            # A magnitude beyond the width saturates whatever the left shift, and so does one of 1 shifted that far.
            small = lax.clamp(kind(low), value, kind(high + 1))
            if isinstance(shift, int):
                result = _right(value, shift, mode) if shift > 0 else _left(small, min(-shift, bits - 1))
            else:
                down = _right(value, lax.max(shift, np.int32(1)), mode)
                up = _left(small, lax.clamp(np.int32(0), -shift, np.int32(bits - 1)))
                result = jnp.where(shift > 0, down, up)
            whole = lax.convert_element_type(lax.clamp(kind(low), result, kind(high)), jnp.int32)
        if not as_float32 or bits <= EXACT_BITS:
            return whole
        return saturated_int32(lax.convert_element_type(whole, jnp.float32))


def _right(value: jax.Array, shift: int | jax.Array, mode: RoundMode) -> jax.Array:
    """value / 2^shift, shift >= 1, rounded, without overflow: the sum of a value and a half is never formed."""
    kind = value.dtype.type
    last = 8 * value.dtype.itemsize - 1
    one = kind(1)
    whole = _places(value, shift, last)
    down = lax.shift_right_arithmetic(value, whole)
    if mode is RoundMode.floor:
        return down
    doubled = lax.shift_right_arithmetic(value, _places(value, shift - 1, last))
    nearest = lax.shift_right_arithmetic(doubled, jnp.full_like(doubled, 1)) + (doubled & one)
    if mode is RoundMode.floor_add:
        return nearest
    # A shift beyond the width gives 0 either way, so ties need not be seen there.
    rest = value - lax.shift_left(down, whole)
    half = lax.shift_left(jnp.full_like(value, 1), _places(value, shift - 1, last - 1))
    return jnp.where(rest == half, nearest & kind(-2), nearest)


def _left(value: jax.Array, shift: int | jax.Array) -> jax.Array:
    return lax.shift_left(value, _places(value, shift, 8 * value.dtype.itemsize - 1))


def _places(value: jax.Array, shift: int | jax.Array, last: int) -> jax.Array:
    """A shift count for each element, at most ``last``."""
    if isinstance(shift, int):
        return jnp.full_like(value, min(shift, last))
    count = lax.convert_element_type(lax.min(shift, np.int32(last)), value.dtype)
    return jnp.broadcast_to(count, value.shape)
