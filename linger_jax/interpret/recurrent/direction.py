"""One direction as a differentiable function: the integer loop with the hidden quantizer's share in its gradient."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.config import QatMethod
from linger_jax.interpret.context import Array
from linger_jax.interpret.recurrent import hidden_rule
from linger_jax.interpret.recurrent.hidden_rule import Entries, HiddenRule
from linger_jax.numerics.recurrent import CELL_SCALE, LoopVariant, Operands, Run, Scales, backward, forward
from linger_jax.quantizers import THRESHOLD, QuantizerSpec

_ZERO = np.float32(0)
_CELL_STEP = np.float32(1 / CELL_SCALE)
Results = tuple[Array, tuple[Array, ...], Entries]


@dataclasses.dataclass(frozen=True)
class Direction:
    """The static part of a direction: the loop, and what the hidden quantizer does. Hashable."""

    loop: LoopVariant
    hidden: QuantizerSpec
    rule: HiddenRule

    @property
    def learns(self) -> bool:
        """Whether the hidden quantizer's threshold gets a gradient."""
        return self.hidden.qat_method is QatMethod.TQT and self.rule is not HiddenRule.never


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def run_direction(
    direction: Direction, operands: Operands, scales: Scales, active: Array | None, entries: Entries
) -> Results:
    """Runs a direction over all steps.

    Args:
      direction: the static part.
      operands: numbers on their grids.
      scales: of those grids and of the hidden state; they receive no gradient.
      active: bool [T, B], rows that a step moves; None: all.
      entries: state of the hidden quantizer; ``learning_data`` is differentiable.

    Returns:
      Hidden states, float32 numbers [T, B, H], zero where a row is not active.
      Final state, float32 numbers: hidden state [B, H], and the cell [B, H] of an LSTM.
      Entries of the hidden quantizer after the pass; the scale is left to the caller.
    """
    return _forward(direction, operands, scales, active, entries)[0]


def _forward(
    direction: Direction, operands: Operands, scales: Scales, active: Array | None, entries: Entries
) -> tuple[Results, tuple[Operands, Scales, Array | None, Entries, Run]]:
    run = forward(direction.loop, operands, scales, active)
    scale = _poisoned(scales)
    states, last = _with_nan(
        operands,
        active,
        run.hidden / scale,
        (run.last[0] / scale, *(cell * _CELL_STEP for cell in run.last[1:])),
        reverse=direction.loop.reverse,
    )
    if active is not None:
        states = jnp.where(active[..., None], states, _ZERO)
    reverse = direction.loop.reverse
    moved = hidden_rule.new_statistic(
        direction.rule, direction.hidden, entries, run, scales.hidden, active, reverse=reverse
    )
    if not direction.learns:
        # Only the threshold's gradient reads the unrounded states.
        run = dataclasses.replace(run, exact=jnp.zeros((), jnp.float32))
    return (states, last, moved), (operands, scales, active, entries, run)


def _backward(
    direction: Direction,
    residuals: tuple[Operands, Scales, Array | None, Entries, Run],
    cotangents: Results,
) -> tuple[Operands, Scales, None, Entries]:
    operands, scales, active, entries, run = residuals
    d_states, d_last, d_moved = cotangents
    rule, spec = direction.rule, direction.hidden
    reverse = direction.loop.reverse
    passes = hidden_rule.passes(rule, spec, entries, run, scales.hidden, active, reverse=reverse)
    gradients, arrived = backward(direction.loop, operands, scales, active, run, passes, d_states, d_last)
    d_entries = {name: _no_gradient(entry) for name, entry in entries.items()}
    if direction.learns:
        d_entries[THRESHOLD] = d_moved[THRESHOLD] + hidden_rule.threshold_gradient(
            rule, spec, entries, run, scales.hidden, arrived
        )
    return gradients, jax.tree.map(jnp.zeros_like, scales), None, d_entries


def _poisoned(scales: Scales) -> Array:
    """The hidden scale; NaN where an operand's is, since integers cannot carry a NaN to the loss."""
    product = scales.input * scales.weight_ih * scales.weight_hh * scales.hidden
    return jnp.where(product == product, scales.hidden, np.float32(np.nan))


def _with_nan(
    operands: Operands, active: Array | None, states: Array, last: tuple[Array, ...], *, reverse: bool
) -> tuple[Array, tuple[Array, ...]]:
    """Hidden and final states, NaN from the step on at which a row meets one: in its inputs, its start or a weight."""
    start = sum((jnp.sum(state, -1) for state in operands.initial), np.float32(0))
    weights = (operands.weight_ih, operands.weight_hh, operands.bias_ih, operands.bias_hh)
    for weight in weights:
        start = start if weight is None else start + jnp.sum(weight)
    met = jnp.isnan(jnp.sum(operands.x, -1))
    met = met if active is None else met & active
    met = lax.cummax(met.astype(jnp.int32), 0, reverse=reverse) > 0
    met = met | jnp.isnan(start)[None]
    at_the_end = met[0 if reverse else -1]
    nan = np.float32(np.nan)
    states = jnp.where(met[..., None], nan, states)
    return states, tuple(jnp.where(at_the_end[..., None], nan, state) for state in last)


def _no_gradient(entry: Array) -> Array:
    if jnp.issubdtype(entry.dtype, jnp.floating):
        return jnp.zeros_like(entry)
    return np.zeros(entry.shape, jax.dtypes.float0)  # type: ignore[return-value]


run_direction.defvjp(_forward, _backward)
