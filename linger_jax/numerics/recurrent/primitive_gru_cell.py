"""The usual GRU cell of operators that the executors compute: products, sums and tables of 8 bits.

With x and h the operands, W and U the weights, each line one operator whose result is rounded and cut to 8 bits:

    a, b = W x + bias, U h + bias       at 2^4 for r and z, at 2^5 for n
    r, z = sigmoid(a + b)               at 2^7
    n    = tanh(a_n + r * b_n)          at 2^7
    h'   = z * h + (1 - z) * n          both products and the sum at the scale of the state

Source: docs/decisions.md D34, docs/specification/executor.md sections 3.1, 3.2 and 5.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from linger_jax.kinds import GATES
from linger_jax.numerics.recurrent import float64_integers
from linger_jax.numerics.recurrent.cell_step import StepResult, StepScales
from linger_jax.numerics.recurrent.gates import sigmoid_gate, tanh_gate
from linger_jax.numerics.recurrent.gru_cell import GruCell, GruStep
from linger_jax.numerics.recurrent.projection import Projection

Array = jax.Array

PRIMITIVE_BITS = 8
GATE_SCALE = 2.0 ** (PRIMITIVE_BITS - 1)
"""Of reset and update gate and of the new state before it is mixed in."""
PRE_ACTIVATION_SCALES = (2.0**4, 2.0**4, 2.0**5)
"""Of r, z and n: what lies beyond +-8 and +-4 moves no result of 7 bits by more than a step."""
_LARGEST_GATE = np.float64((GATE_SCALE - 1) / GATE_SCALE)


@dataclasses.dataclass(frozen=True)
class PrimitiveGruCell(GruCell):
    """The cell on one chip; its gradient is that of the float cell."""

    saturates_products = False
    product_bits = PRIMITIVE_BITS

    def accumulator_scale(self, input_product: Array, hidden_product: Array, width: int) -> Array:
        """Scale of each pre-activation, float64 [3H]."""
        del input_product, hidden_product
        return jnp.asarray(np.repeat(np.asarray(PRE_ACTIVATION_SCALES, np.float64), width))

    def step(
        self, hidden: Projection, from_input: Array, state: tuple[Array, ...], scales: StepScales
    ) -> StepResult[GruStep]:
        """One step, as ``GruCell.step``; products come with 8 bits. Inside ``int64.region()``."""
        (h,) = state
        before = float64_integers.of(h)
        a_r, a_z, a_n = jnp.split(float64_integers.of(from_input), GATES["gru"], axis=-1)
        b_r, b_z, b_n = jnp.split(hidden(h), GATES["gru"], axis=-1)
        pre_r = self._as_kernels_read(_cut(a_r + b_r), 0)
        pre_z = self._as_kernels_read(_cut(a_z + b_z), 1)
        r, z = (sigmoid_gate(self.variant.gates, pre, PRIMITIVE_BITS - 1) for pre in (pre_r, pre_z))
        pre_n = self._as_kernels_read(_cut(a_n + _cut(float64_integers.rescale(b_n, r))), 2)
        n = tanh_gate(self.variant.gates, pre_n, PRIMITIVE_BITS - 1)
        kept = _cut(float64_integers.rescale(before, z))
        added = jnp.minimum(np.float64(1) - z, _LARGEST_GATE) * n * scales.hidden
        raw = kept + _cut(float64_integers.rescale(added, np.float64(1)))
        exact = (before * z + added) / scales.hidden
        numbers = (r, z, n * scales.hidden, b_n / np.float64(PRE_ACTIVATION_SCALES[2]))
        left = GruStep((pre_r, pre_z, pre_n), *(float64_integers.to_float32(v) for v in numbers))
        return StepResult(float64_integers.to_float32(raw), (), left, float64_integers.to_float32(exact))

    def _as_kernels_read(self, pre: Array, gate: int) -> Array:
        finer = np.float64(2.0**self.variant.gates.fraction_bits / PRE_ACTIVATION_SCALES[gate])
        return float64_integers.to_int32(pre * finer)


def _cut(v: Array) -> Array:
    return float64_integers.saturate(v, PRIMITIVE_BITS)


def opposite_of_update(update: Array) -> Array:
    """1 - z of integers z at ``GATE_SCALE``, int32, cut to 8 bits."""
    return jnp.minimum(np.int32(GATE_SCALE) - update, np.int32(GATE_SCALE - 1))
