"""The GRU cell in integers, and the factors of its backward pass.

Source: docs/specification/recurrent.md sections 4 and 5, docs/specification/executor.md section 5.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.kinds import GATES
from linger_jax.numerics import int64
from linger_jax.numerics.recurrent import float64_integers
from linger_jax.numerics.recurrent.cell_step import StepResult, StepScales, over_time
from linger_jax.numerics.recurrent.cell_variants import GruVariant
from linger_jax.numerics.recurrent.gates import sigmoid_gate, sigmoid_slope, tanh_gate, tanh_slope
from linger_jax.numerics.recurrent.projection import Projection

_GATES = GATES["gru"]

_EXACT_IN_DOUBLE_BITS = 15
_HALVED_ONE = np.float64(2.0**7)
"""What half a state counts as: a state of 1 has 2^8 steps where halving it changes nothing."""
_DIFFERENCE_LIMIT = np.float32(2.0**15)
_ZERO, _ONE = np.float32(0), np.float32(1)

Array = jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GruStep:
    """What a step leaves for the backward pass; arrays [B, H], with T in front once stacked."""

    pre: tuple[Array, Array, Array]
    """int32 pre-activations r, z, n as the kernels read them."""
    reset: Array
    """float32, what the kernel answered."""
    update: Array
    """float32, what the kernel answered."""
    new: Array
    """float32 integers at the hidden scale."""
    reset_side: Array
    """float32 numbers: the hidden part of n, which the reset gate multiplied; or, where it acts before the matrix
    product, the hidden state after it."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GruFactors:
    """Elementwise factors of the backward pass, float32 [T, B, H]."""

    z: Array
    """Of dh for z."""
    n: Array
    """Of dh for n."""
    r: Array
    """For r: of dn, or of the gradient of the reset hidden state."""
    reset: Array
    """The reset gate."""
    keep: Array
    """Of dh for the state before."""


@dataclasses.dataclass(frozen=True)
class GruCell:
    """The cell of one chip; its state is the hidden state alone."""

    variant: GruVariant

    gates = _GATES
    product_bits = 32

    def accumulator_scale(self, input_product: Array, hidden_product: Array, width: int) -> Array:
        """Scale of the accumulator, float64: the finer of the products', or that of the kernels' input."""
        del width
        if self.variant.common_accumulator:
            return jnp.maximum(input_product, hidden_product)
        return jnp.full_like(input_product, 2.0**self.variant.gates.fraction_bits)

    @property
    def saturates_products(self) -> bool:
        """A product with its bias is an int32 before it is brought to another format."""
        return self.variant.halves_state

    def step(
        self, hidden: Projection, from_input: Array, state: tuple[Array, ...], scales: StepScales
    ) -> StepResult[GruStep]:
        """One step. Inside ``int64.region()``.

        Args:
          hidden: product of the hidden state.
          from_input: int32 [B, 3H], product of the input in the accumulator's format.
          state: hidden state, float32 integers [B, H] at the hidden scale.
          scales: of hidden state and accumulator.
        """
        (h,) = state
        variant, gates, width, bits = self.variant, self.variant.gates, h.shape[-1], self.variant.gates.kernel_bits
        before = float64_integers.of(h)
        input_r, input_z, input_n = (float64_integers.of(part) for part in jnp.split(from_input, _GATES, axis=-1))
        both = hidden.columns(0, 2 * width)(h) if variant.resets_before_product else hidden(h)
        pre_r = self._pre_activation(input_r + both[:, :width], scales)
        pre_z = self._pre_activation(input_z + both[:, width : 2 * width], scales)
        r, z = sigmoid_gate(gates, pre_r, bits), sigmoid_gate(gates, pre_z, bits)
        if variant.resets_before_product:
            reset = float64_integers.to_float32(self._gated(r, before))
            hidden_n = hidden.columns(2 * width, 3 * width)(reset)
            reset_side = float64_integers.of(reset) / scales.hidden
        else:
            hidden_n = self._gated(r, both[:, 2 * width :])
            reset_side = both[:, 2 * width :] / scales.accumulator
        pre_n = self._pre_activation(input_n + hidden_n, scales)
        n = tanh_gate(gates, pre_n, bits)
        if variant.halves_state:
            n, kept = n * scales.hidden, float64_integers.round_shift(before, 1) * (scales.hidden / _HALVED_ONE)
        else:
            n, kept = float64_integers.rescale(n, scales.hidden), before
        start, end = (kept, n) if variant.update_keeps_new else (n, kept)
        difference = float64_integers.saturate(end - start, 16) if variant.saturates_difference else end - start
        mixed = start + z * difference
        if bits <= _EXACT_IN_DOUBLE_BITS:
            raw = float64_integers.rescale(mixed, np.float64(1))
        else:
            raw = start + self._gated(z, difference)
        numbers = (r, z, n, reset_side)
        left = GruStep((pre_r, pre_z, pre_n), *(float64_integers.to_float32(v) for v in numbers))
        exact = float64_integers.to_float32(mixed / scales.hidden)
        return StepResult(float64_integers.to_float32(raw), (), left, exact)

    def factors(self, steps: GruStep, before: tuple[Array, ...], hidden_scale: Array) -> GruFactors:
        """Factors of every step.

        Args:
          steps: stacked.
          before: state that each step started from, float32 integers [T, B, H].
          hidden_scale: float32 scalar.
        """
        variant, gates, update = self.variant, self.variant.gates, steps.update
        pre_r, pre_z, pre_n = steps.pre
        difference = before[0] - steps.new
        if variant.update_keeps_new:
            difference = -difference
        if variant.saturates_difference:
            difference = lax.clamp(-_DIFFERENCE_LIMIT, difference, _DIFFERENCE_LIMIT - _ONE)
        if not variant.difference_passes_gradient:
            to_new, keep = jnp.zeros_like(update), jnp.ones_like(update)
        elif variant.update_keeps_new:
            to_new, keep = update, _ONE - update
        else:
            to_new, keep = _ONE - update, update
        multiplied = before[0] / hidden_scale if variant.resets_before_product else steps.reset_side
        return GruFactors(
            z=difference / hidden_scale * sigmoid_slope(gates, pre_z),
            n=to_new * tanh_slope(gates, pre_n),
            r=multiplied * sigmoid_slope(gates, pre_r),
            reset=steps.reset,
            keep=keep,
        )

    def masked(self, factors: GruFactors, passes: Array) -> GruFactors:
        """Factors of steps whose new hidden state gets gradient only where ``passes`` is 1; float32 [T, B, H]."""
        return dataclasses.replace(factors, z=factors.z * passes, n=factors.n * passes, keep=factors.keep * passes)

    def stopped(self, factors: GruFactors, active: Array) -> GruFactors:
        """Factors without the steps where ``active`` is false, which left the state as it was; bool [T, B, 1]."""
        return jax.tree.map(lambda a: jnp.where(active, a, _ZERO), factors)

    def pull(
        self, factors: GruFactors, d_state: tuple[Array, ...], weight_hh: Array
    ) -> tuple[Array, tuple[Array, ...]]:
        """One step backwards.

        Args:
          factors: of this step, [B, H].
          d_state: gradient of the new state.
          weight_hh: float32 [H, 3H].

        Returns:
          Gradient of the pre-activations, float32 [B, 3H], and of the state before.
        """
        (d_h,) = d_state
        width = d_h.shape[-1]
        d_n, d_z, d_h = d_h * factors.n, d_h * factors.z, d_h * factors.keep
        if self.variant.resets_before_product:
            d_reset = d_n @ weight_hh[:, 2 * width :].T
            d_r = d_reset * factors.r
            d_h = d_h + d_reset * factors.reset
            d_h = d_h + jnp.concatenate([d_r, d_z], axis=-1) @ weight_hh[:, : 2 * width].T
        else:
            d_r = d_n * factors.r
            d_h = d_h + jnp.concatenate([d_r, d_z, d_n * factors.reset], axis=-1) @ weight_hh.T
        return jnp.concatenate([d_r, d_z, d_n], axis=-1), (d_h,)

    def hidden_gradients(self, d_pre: Array, steps: GruStep, h_before: Array) -> tuple[Array, Array]:
        """Gradients of the hidden weights [H, 3H] and bias [3H].

        Args:
          d_pre: float32 [T, B, 3H], gradients of the pre-activations.
          steps: stacked.
          h_before: float32 numbers [T, B, H].
        """
        width = h_before.shape[-1]
        both, d_n = d_pre[..., : 2 * width], d_pre[..., 2 * width :]
        if not self.variant.resets_before_product:
            d_hidden = jnp.concatenate([both, d_n * steps.reset], axis=-1)
            return over_time(h_before, d_hidden), d_hidden.sum((0, 1))
        weight = [over_time(h_before, both), over_time(steps.reset_side, d_n)]
        return jnp.concatenate(weight, axis=-1), d_pre.sum((0, 1))

    def _pre_activation(self, v: Array, scales: StepScales) -> Array:
        if self.variant.common_accumulator:
            v = float64_integers.rescale(v, np.float64(2.0**self.variant.gates.fraction_bits) / scales.accumulator)
        return float64_integers.to_int32(float64_integers.saturate(v, 32))

    def _gated(self, gate: Array, v: Array) -> Array:
        """floor(gate * v + 1/2) of a gate's number and float64 integers below 2^32."""
        bits = self.variant.gates.kernel_bits
        if bits <= _EXACT_IN_DOUBLE_BITS:
            return float64_integers.rescale(v, gate)
        if self.variant.rounds_products_in_float:
            return float64_integers.rescale_rounded(v, gate)
        integer = lax.convert_element_type(gate * np.float64(2.0**bits), jnp.int64)
        return float64_integers.of(int64.round_shift(integer * lax.convert_element_type(v, jnp.int64), bits))
