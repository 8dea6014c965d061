"""The quantized tensor that travels between layers."""

from __future__ import annotations

import dataclasses

import jax


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class QTensor:
    """A fake-quantized array together with its grid; a JAX pytree.

    Invariants: `scale` is a power of two (integer steps per unit; Q-format n means 2^n) and `value * scale` is an
    integer in -2^(bits-1) .. 2^(bits-1) - 1. Symmetric, no zero point (spec quantizers.md section 9, ops.md section 1).
    """

    value: jax.Array
    """float32 array of any shape."""
    scale: jax.Array
    """float32 scalar."""
    bits: int = dataclasses.field(metadata={"static": True})
    """Width of the integers."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of `value`."""
        return tuple(self.value.shape)
