"""One call of an operator: its node and what flows into it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from linger_jax.errors import ExportError
from linger_jax.export.onnx import LINGER_FILES, FileDialect, FileNode
from linger_jax.export.runner.common_scale import requantize
from linger_jax.export.runner.integer_tensor import Array, IntegerTensor, Value, limits
from linger_jax.numerics import Accumulator
from linger_jax.plan import Semantics

MOST_NUMBERS = 1 << 26
"""In a tensor of one sample; the chips have memory for a tenth of them."""


@dataclasses.dataclass(frozen=True)
class Call:
    """A node with its operands.

    Attributes:
      node: the node.
      operands: what flows into it; None where an optional input is left out.
      semantics: what the file's integers mean where linger and the chip differ.
      dialect: whose operators the file holds.
    """

    node: FileNode
    operands: tuple[Value | None, ...]
    semantics: Semantics
    dialect: FileDialect = LINGER_FILES

    def tensor(self, position: int, letter: str = "x") -> IntegerTensor:
        """An operand that must be quantized; a constant of the file lies at the scale that the node states for it.

        Args:
          position: of the operand.
          letter: of its attributes, ``scale_<letter>`` and ``<letter>_bits``.

        Raises:
          ExportError: it is missing or a float.
        """
        value = self.optional(position)
        if isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.integer):
            bits = self.node.integer(f"{letter}_bits", 8 * value.itemsize)
            self.constant(position, bits)
            return IntegerTensor(jnp.asarray(value.astype(np.int32)), self.node.scale(f"scale_{letter}"), bits)
        if not isinstance(value, IntegerTensor):
            raise self.error(f"input {position} must be quantized, it is {'missing' if value is None else 'a float'}")
        return value

    def constant(self, position: int, bits: int | None = None) -> npt.NDArray[Any] | None:
        """An operand that is stored in the file, or None where it is left out.

        Raises:
          ExportError: it is computed, or its integers do not fit in ``bits``.
        """
        value = self.optional(position)
        if value is None:
            return None
        if not isinstance(value, np.ndarray):
            raise self.error(f"input {position} must be a constant of the file")
        if bits is not None and value.size:
            least, most = limits(bits)
            if not np.issubdtype(value.dtype, np.integer) or value.min() < least or value.max() > most:
                raise self.error(f"input {position} must hold {bits}-bit integers")
        return value

    def parameter(self, position: int, bits: int) -> npt.NDArray[Any]:
        """A constant that must be there."""
        value = self.constant(position, bits)
        if value is None:
            raise self.error(f"input {position} is missing")
        return value

    def optional(self, position: int) -> Value | None:
        """An operand, or None."""
        return self.operands[position] if position < len(self.operands) else None

    def plain(self, position: int) -> Array:
        """An operand as real numbers: float32, or indices as they are."""
        value = self.optional(position)
        if value is None:
            raise self.error(f"input {position} is missing")
        return value.real() if isinstance(value, IntegerTensor) else value

    def indices(self, position: int) -> Array:
        """An operand that says which entry: integers, on whatever grid."""
        value = self.optional(position)
        return value.value if isinstance(value, IntegerTensor) else self.plain(position)

    def on_result_grid(self, total: Accumulator, scale: float) -> IntegerTensor:
        """Integers in steps of 1 / scale on the grid that the node states for its result."""
        node = self.node
        return requantize(
            *(total, scale, node.scale("scale_o"), node.integer("o_bits"), node.round_mode),
            as_float32=self.dialect.results_are_float32,
        )

    def require_size(self, numbers: int) -> None:
        """Refuses results beyond any chip's memory, before they are computed.

        Raises:
          ExportError: that many numbers are too many.
        """
        if numbers > MOST_NUMBERS:
            raise self.error(f"makes {numbers:,} numbers of one sample; at most {MOST_NUMBERS:,}")

    def error(self, text: str) -> ExportError:
        """An error that names the node."""
        return ExportError(f"node {self.node.name} ({self.node.op}): {text}")


RunRule = Callable[[Call], Sequence[Value]]
