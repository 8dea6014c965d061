"""One direction of an LSTM or GRU over time, forward and backward, in the chip's integers.

What does not depend on the step before stands outside the loops: forward the product of the input, backward everything
but the recursion of the state's gradient. So a step costs less than that of a float cell which JAX differentiates.

Source: docs/specification/recurrent.md.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.numerics import int64
from linger_jax.numerics.recurrent import float64_integers
from linger_jax.numerics.recurrent.cell_step import StepScales, over_time
from linger_jax.numerics.recurrent.digit_product import digits
from linger_jax.numerics.recurrent.gru_cell import GruCell
from linger_jax.numerics.recurrent.lstm_cell import CELL_SCALE, LstmCell
from linger_jax.numerics.recurrent.projection import Projection

Array = jax.Array
Cell = LstmCell | GruCell

_ZERO = np.float32(0)
# An initial state is rounded to the hidden grid, not cut to it (docs/codes.md R14): room for four times the range.
SPARE_BITS = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoopVariant:
    """The static part of a loop. Hashable.

    Attributes:
      cell: the chip's cell.
      input_bits, weight_bits, hidden_bits: widths of the integers.
      reverse: from the last step to the first.
      saturates_bias: a bias is an int32, as files hold it; else it is as large as its numbers say.
    """

    cell: Cell
    input_bits: int
    weight_bits: int
    hidden_bits: int
    reverse: bool
    saturates_bias: bool = False


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Operands:
    """Differentiable operands, float32 numbers on their grids; G gates of width H.

    Attributes:
      x: [T, B, I].
      weight_ih, weight_hh: [I, G*H], [H, G*H].
      bias_ih, bias_hh: [G*H], or None for none.
      initial: hidden state [B, H], and the cell [B, H] of an LSTM; on any grid: it is rounded.
    """

    x: Array
    weight_ih: Array
    weight_hh: Array
    bias_ih: Array | None
    bias_hh: Array | None
    initial: tuple[Array, ...]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Scales:
    """Integer steps per unit, float32 scalars, powers of two."""

    input: Array
    weight_ih: Array
    weight_hh: Array
    hidden: Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """What a loop computed; arrays [T, B, H] are in the order of time whatever the direction.

    Attributes:
      raw: new hidden states before saturation, float32 integers; where a row is not active, the state it keeps.
      hidden: the same after saturation.
      before: state that each step started from, float32 integers.
      last: final state, float32 integers.
      left: residuals of every step.
      exact: new hidden states before rounding, float32 numbers.
    """

    raw: Array
    hidden: Array
    before: tuple[Array, ...]
    last: tuple[Array, ...]
    left: Any
    exact: Array


def forward(variant: LoopVariant, operands: Operands, scales: Scales, active: Array | None) -> Run:
    """Runs a direction.

    Args:
      form: cell and widths.
      operands: numbers on their grids.
      scales: of those grids and of the hidden state.
      active: bool [T, B], rows that a step moves; None: all.
    """
    with int64.region():
        wide_scales = jax.tree.map(float64_integers.of, scales)
        input_product = wide_scales.input * wide_scales.weight_ih
        hidden_product = wide_scales.hidden * wide_scales.weight_hh
        accumulator = variant.cell.accumulator_scale(input_product, hidden_product, operands.weight_hh.shape[0])
        step_scales = StepScales(hidden=wide_scales.hidden, accumulator=accumulator)
        of_input = _projection(
            variant, operands.weight_ih, operands.bias_ih, scales.weight_ih, input_product, accumulator, hidden=False
        )
        of_hidden = _projection(
            variant, operands.weight_hh, operands.bias_hh, scales.weight_hh, hidden_product, accumulator, hidden=True
        )
        from_input = float64_integers.to_int32(of_input(_integers(operands.x, wide_scales.input)))
        initial_scales = (wide_scales.hidden, np.float64(CELL_SCALE))
        initial = tuple(_integers(a, s) for a, s in zip(operands.initial, initial_scales, strict=False))

        def step(state: tuple[Array, ...], now: tuple[Array, Array | None]) -> Any:
            from_input, moves = now
            result = variant.cell.step(of_hidden, from_input, state, step_scales)
            raw, new = result.raw, (_saturated(result.raw, variant.hidden_bits), *result.others)
            if moves is not None:
                raw = jnp.where(moves, raw, state[0])
                new = tuple(jnp.where(moves, a, b) for a, b in zip(new, state, strict=True))
            return new, (raw, new[1:], result.left, result.exact)

        moves = None if active is None else active[..., None]
        last, (raw, others, left, exact) = lax.scan(step, initial, (from_input, moves), reverse=variant.reverse)
    hidden = _saturated(raw, variant.hidden_bits)
    hidden = hidden if moves is None else jnp.where(moves, hidden, raw)
    before = tuple(
        _shifted(a, first, reverse=variant.reverse) for a, first in zip((hidden, *others), initial, strict=True)
    )
    return Run(raw=raw, hidden=hidden, before=before, last=last, left=left, exact=exact)


def backward(
    variant: LoopVariant,
    operands: Operands,
    scales: Scales,
    active: Array | None,
    run: Run,
    passes: Array | None,
    d_hidden: Array,
    d_last: tuple[Array, ...],
) -> tuple[Operands, Array]:
    """Gradients of a direction, in numbers (not in integers).

    Args:
      form, operands, scales, active: as given to ``forward``.
      run: its result.
      passes: float32 [T, B, H], 1 where the new hidden state passes gradient, else 0; None: everywhere.
      d_hidden: [T, B, H], gradient of the hidden states; not read where a row is not active.
      d_last: gradient of the final state.

    Returns:
      Gradients of the operands; and, [T, B, H], the whole gradient that arrived at each new hidden state before
      ``passes``, zero where a row is not active.
    """
    cell, weight_hh = variant.cell, operands.weight_hh
    factors: Any = cell.factors(run.left, run.before, scales.hidden)
    if passes is not None:
        factors = cell.masked(factors, passes)
    moves = None if active is None else active[..., None]
    if moves is not None:
        factors = cell.stopped(factors, moves)
        d_hidden = jnp.where(moves, d_hidden, _ZERO)

    def step(d_state: tuple[Array, ...], now: Any) -> Any:
        factors, d_out, moves = now
        arrived = d_state[0] + d_out
        d_pre, before = cell.pull(factors, (arrived, *d_state[1:]), weight_hh)
        if moves is not None:
            before = (before[0] + jnp.where(moves, _ZERO, arrived), *before[1:])
        return before, (d_pre, arrived)

    d_initial, (d_pre, arrived) = lax.scan(step, d_last, (factors, d_hidden, moves), reverse=not variant.reverse)
    if moves is not None:
        arrived = jnp.where(moves, arrived, _ZERO)
    d_weight_hh, d_bias_hh = cell.hidden_gradients(d_pre, run.left, run.before[0] / scales.hidden)
    gradients = Operands(
        x=d_pre @ operands.weight_ih.T,
        weight_ih=over_time(operands.x, d_pre),
        weight_hh=d_weight_hh,
        bias_ih=None if operands.bias_ih is None else d_pre.sum((0, 1)),
        bias_hh=None if operands.bias_hh is None else d_bias_hh,
        initial=d_initial,
    )
    return gradients, arrived


def _projection(
    variant: LoopVariant,
    weight: Array,
    bias: Array | None,
    weight_scale: Array,
    product_scale: Array,
    accumulator: Array,
    *,
    hidden: bool,
) -> Projection:
    if bias is None:
        whole_bias = jnp.zeros(weight.shape[1:], jnp.float64)
    else:
        whole_bias = float64_integers.rescale(float64_integers.of(bias), product_scale)
    if variant.saturates_bias or variant.cell.saturates_products:
        whole_bias = float64_integers.saturate(whole_bias, 32)
    return Projection(
        weight=digits(weight * weight_scale, variant.weight_bits),
        bias=whole_bias,
        factor=accumulator / product_scale,
        operand_bits=variant.hidden_bits if hidden else variant.input_bits,
        spare_bits=SPARE_BITS if hidden else 0,
        saturates_product=variant.cell.saturates_products,
        result_bits=variant.cell.product_bits,
    )


def _integers(x: Array, scale: Array | np.float64) -> Array:
    """floor(x * scale + 1/2), float32 integers of float32 numbers."""
    return float64_integers.to_float32(float64_integers.rescale(float64_integers.of(x), scale))


def _saturated(v: Array, bits: int) -> Array:
    return lax.clamp(np.float32(-(2.0 ** (bits - 1))), v, np.float32(2.0 ** (bits - 1) - 1))


def _shifted(steps: Array, first: Array, *, reverse: bool) -> Array:
    """The entry of the step before, ``first`` at the start."""
    if reverse:
        return jnp.concatenate([steps[1:], first[None]])
    return jnp.concatenate([first[None], steps[:-1]])
