"""The quantized tensor that travels between layers."""

from __future__ import annotations

import dataclasses
import numbers
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linger_jax.errors import LingerError
from linger_jax.numerics import is_power_of_two
from linger_jax.numerics.chip_kernels import saturated_int32

_BITS = range(2, 33)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class QTensor:
    """A fake-quantized array together with its grid; a JAX pytree.

    Invariants: ``scale`` is a power of two (integer steps per unit; Q-format n means 2^n) and ``value * scale`` is an
    integer in -2^(bits-1) .. 2^(bits-1) - 1. Symmetric, no zero point (docs/specification/quantizers.md section 9,
    docs/specification/ops.md section 1).
    """

    value: jax.Array
    """float32 array of any shape."""
    scale: jax.Array
    """float32 scalar."""
    bits: int = dataclasses.field(metadata={"static": True})
    """Width of the integers."""

    @property
    def integers(self) -> jax.Array:
        """int32 array of the integers. ``value`` holds up to 24 bits exactly; wider ones are rounded to float32."""
        return saturated_int32(self.value * self.scale)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of ``value``."""
        return tuple(self.value.shape)


def from_tensor_to_qtensor(value: Any, scale: Any, bits: Any) -> QTensor:
    """A quantized value made by hand: an input that was quantized elsewhere, for example by a sensor.

    Args:
      value: float32 array, integers divided by ``scale``; it is taken as it is, in value and in gradient.
      scale: integer steps per unit, a power of two: a number, or a float32 scalar array.
      bits: width of the integers, 2 to 32.

    Raises:
      LingerError: a value of another dtype, a number that is no power of two, or a width out of range. What only the
        compiled function knows (a traced scale, integers beyond the width) is not checked.
    """
    if not isinstance(bits, numbers.Integral) or int(bits) not in _BITS:
        raise LingerError(f"a QTensor has 2 to 32 bits, got {bits!r}")
    if getattr(value, "dtype", None) != np.float32:
        raise LingerError(
            f"the value of a QTensor is a float32 array, got {getattr(value, 'dtype', type(value).__name__)}; integers "
            "from outside are divided by the scale first"
        )
    if isinstance(scale, numbers.Real | np.ndarray):
        number = float(scale)
        if not is_power_of_two(number):
            raise LingerError(f"the scale of a QTensor is a power of two (integer steps per unit), got {number:g}")
    step = jnp.asarray(scale, jnp.float32)
    if step.shape != ():
        raise LingerError(f"a QTensor has one scale, got an array of shape {step.shape}")
    return QTensor(jnp.asarray(value), step, int(bits))


def from_qtensor_to_tensor(value: QTensor) -> jax.Array:
    """The float32 array of a quantized value, unchanged in value and in gradient.

    Raises:
      LingerError: something else than a ``QTensor``.
    """
    if not isinstance(value, QTensor):
        raise LingerError(f"expected a QTensor, got {type(value).__name__}")
    return value.value
