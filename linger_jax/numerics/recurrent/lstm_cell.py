"""The LSTM cell in integers, and the factors of its backward pass.

Source: docs/specification/recurrent.md sections 3 and 5.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from linger_jax.kinds import GATES
from linger_jax.numerics.recurrent import float64_integers
from linger_jax.numerics.recurrent.cell_step import StepResult, StepScales, over_time
from linger_jax.numerics.recurrent.cell_variants import LstmVariant
from linger_jax.numerics.recurrent.gates import sigmoid_gate, sigmoid_slope, tanh_gate, tanh_slope
from linger_jax.numerics.recurrent.projection import Projection

_GATES = GATES["lstm"]
GATE_BITS = 15
"""Fraction bits of gates and cell; a product of two has twice as many."""
CELL_SCALE = 2.0**GATE_BITS

_PRODUCT_BITS = 2 * GATE_BITS
_GATE = np.float64(2.0**GATE_BITS)
_GATE_STEP = np.float32(2.0**-GATE_BITS)
_ZERO, _ONE = np.float32(0), np.float32(1)

Array = jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LstmStep:
    """What a step leaves for the backward pass; arrays [B, H], [B, 4H] for ``pre``, with T in front once stacked."""

    pre: Array
    """int32 pre-activations, order i, f, g, o."""
    gates: tuple[Array, Array, Array, Array]
    """float32, what the kernels answered."""
    squashed: Array
    """float32, the tanh kernel's answer for the new cell."""
    squashed_from: Array
    """int32, what that kernel read."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LstmFactors:
    """Elementwise factors of the backward pass, float32 [T, B, H]: of dc for i, f, g, of dh for o and for dc itself."""

    i: Array
    f: Array
    g: Array
    o: Array
    cell: Array
    keep: Array
    """Of dc for the step before."""


@dataclasses.dataclass(frozen=True)
class LstmCell:
    """The cell of one chip; its state is the hidden state and the cell."""

    variant: LstmVariant

    gates = _GATES
    saturates_products = False
    product_bits = 32

    def accumulator_scale(self, input_product: Array, hidden_product: Array, width: int) -> Array:
        """Scale of the accumulator, float64: that of the kernels' input, whatever the products' scales are."""
        del hidden_product, width
        return jnp.full_like(input_product, 2.0**self.variant.gates.fraction_bits)

    def step(
        self, hidden: Projection, from_input: Array, state: tuple[Array, ...], scales: StepScales
    ) -> StepResult[LstmStep]:
        """One step. Inside ``int64.region()``.

        Args:
          hidden: product of the hidden state.
          from_input: int32 [B, 4H], product of the input in the accumulator's format.
          state: hidden state, float32 integers [B, H] at the hidden scale, and cell, float32 integers [B, H] in Q15.
          scales: of hidden state and accumulator.
        """
        h, c = state
        gates = self.variant.gates
        pre = float64_integers.to_int32(float64_integers.saturate(float64_integers.of(from_input) + hidden(h), 32))
        pre_i, pre_f, pre_g, pre_o = jnp.split(pre, _GATES, axis=-1)
        i, f, o = (sigmoid_gate(gates, p, GATE_BITS) for p in (pre_i, pre_f, pre_o))
        g = tanh_gate(gates, pre_g, GATE_BITS)
        kept, added = f * float64_integers.of(c) * _GATE, i * g * _GATE * _GATE
        if self.variant.rounds_cell_once:
            total = kept + added
            cell = float64_integers.saturate(float64_integers.round_shift(total, _PRODUCT_BITS - GATE_BITS), 32)
            squashed_from = float64_integers.round_shift(total, _PRODUCT_BITS - gates.fraction_bits)
        else:
            total = float64_integers.saturate(kept, 32) + float64_integers.saturate(added, 32)
            squashed_from = float64_integers.round_shift(total, _PRODUCT_BITS - gates.fraction_bits)
            cell = float64_integers.round_shift(squashed_from, gates.fraction_bits - GATE_BITS)
        squashed_from = float64_integers.to_int32(float64_integers.saturate(squashed_from, 32))
        squashed = tanh_gate(gates, squashed_from, GATE_BITS)
        product = o * squashed
        raw = float64_integers.rescale(product, scales.hidden)
        i, f, g, o, squashed = (float64_integers.to_float32(v) for v in (i, f, g, o, squashed))
        left = LstmStep(pre, (i, f, g, o), squashed, squashed_from)
        return StepResult(
            float64_integers.to_float32(raw),
            (float64_integers.to_float32(cell),),
            left,
            float64_integers.to_float32(product),
        )

    def factors(self, steps: LstmStep, before: tuple[Array, ...], hidden_scale: Array) -> LstmFactors:
        """Factors of every step.

        Args:
          steps: stacked.
          before: state that each step started from, float32 integers [T, B, H].
          hidden_scale: float32 scalar.
        """
        del hidden_scale
        gates = self.variant.gates
        i, f, g, o = steps.gates
        pre_i, pre_f, pre_g, pre_o = jnp.split(steps.pre, _GATES, axis=-1)
        return LstmFactors(
            i=g * sigmoid_slope(gates, pre_i),
            f=before[1] * _GATE_STEP * sigmoid_slope(gates, pre_f),
            g=i * tanh_slope(gates, pre_g),
            o=steps.squashed * sigmoid_slope(gates, pre_o),
            cell=o * tanh_slope(gates, steps.squashed_from),
            keep=f,
        )

    def masked(self, factors: LstmFactors, passes: Array) -> LstmFactors:
        """Factors of steps whose new hidden state gets gradient only where ``passes`` is 1; float32 [T, B, H]."""
        return dataclasses.replace(factors, o=factors.o * passes, cell=factors.cell * passes)

    def stopped(self, factors: LstmFactors, active: Array) -> LstmFactors:
        """Factors without the steps where ``active`` is false, which left the state as it was; bool [T, B, 1]."""
        kept = jax.tree.map(lambda a: jnp.where(active, a, _ZERO), factors)
        return dataclasses.replace(kept, keep=jnp.where(active, factors.keep, _ONE))

    def pull(
        self, factors: LstmFactors, d_state: tuple[Array, ...], weight_hh: Array
    ) -> tuple[Array, tuple[Array, ...]]:
        """One step backwards.

        Args:
          factors: of this step, [B, H].
          d_state: gradients of the new state.
          weight_hh: float32 [H, 4H].

        Returns:
          Gradient of the pre-activations, float32 [B, 4H], and of the state before.
        """
        d_h, d_c = d_state
        d_c = d_c + d_h * factors.cell
        d_pre = jnp.concatenate([d_c * factors.i, d_c * factors.f, d_c * factors.g, d_h * factors.o], axis=-1)
        return d_pre, (d_pre @ weight_hh.T, d_c * factors.keep)

    def hidden_gradients(self, d_pre: Array, steps: LstmStep, h_before: Array) -> tuple[Array, Array]:
        """Gradients of the hidden weights [H, 4H] and bias [4H].

        Args:
          d_pre: float32 [T, B, 4H], gradients of the pre-activations.
          steps: stacked.
          h_before: float32 numbers [T, B, H].
        """
        del steps
        return over_time(h_before, d_pre), d_pre.sum((0, 1))
