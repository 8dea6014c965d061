"""The hidden quantizer of a direction in training: statistic, and where the state passes gradient.

The hidden states are integers of the cell already; the quantizer changes no value. Under ``chip`` it is the saturation
of the cell itself (docs/decisions.md D3). Under ``reference`` it runs on every new state with a scale of its own
(docs/specification/recurrent.md section 2, steps 3 and 6), which shows in its statistic and in the gradient alone.
"""

from __future__ import annotations

import enum

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.config import ActivationType, QatMethod
from linger_jax.interpret.context import Array
from linger_jax.numerics import scale_of_statistic, scale_of_threshold
from linger_jax.numerics.recurrent import Run
from linger_jax.quantizers import (
    IS_INIT,
    RUNNING_DATA,
    THRESHOLD,
    QuantizerSpec,
    exponent_ties,
    gradient_mask,
    has_statistic,
    largest_value,
    moving_average,
    quantize,
)

Entries = dict[str, Array]


class HiddenRule(enum.Enum):
    """When the hidden quantizer runs."""

    never = "never"
    """Evaluation."""
    saturation = "saturation"
    """It is the cell's saturation."""
    every_step = "every_step"
    """On each new state, at a scale of its own."""


def new_statistic(
    rule: HiddenRule,
    spec: QuantizerSpec,
    entries: Entries,
    run: Run,
    scale: Array,
    active: Array | None,
    *,
    reverse: bool,
) -> Entries:
    """The quantizer's entries after a training pass; under TQT and in evaluation nothing moves."""
    if rule is HiddenRule.never or spec.qat_method is QatMethod.TQT:
        return entries
    if rule is HiddenRule.every_step:
        steps = _running_of_steps(entries, run.hidden / scale, active, reverse=reverse)
        running = steps[0 if reverse else -1]
    else:
        # Beyond the grid too: the statistic of cut values could never ask for a wider one.
        states = run.raw / scale
        states = states if active is None else jnp.where(active[..., None], states, np.float32(0))
        running = moving_average(entries[RUNNING_DATA], _largest(states), has_statistic(spec, entries))
    return {**entries, RUNNING_DATA: running, IS_INIT: jnp.ones_like(entries[IS_INIT])}


def passes(
    rule: HiddenRule,
    spec: QuantizerSpec,
    entries: Entries,
    run: Run,
    scale: Array,
    active: Array | None,
    *,
    reverse: bool,
) -> Array | None:
    """float32 [T, B, H], 1 where a new state passes gradient; None: everywhere.

    Args:
      rule: when the quantizer runs.
      spec: the quantizer.
      entries: its state before the pass.
      run: the pass.
      scale: of the hidden states.
      active: bool [T, B], or None.
      reverse: the direction runs from the last step to the first.
    """
    if rule is HiddenRule.never:
        return None
    if rule is HiddenRule.saturation:
        inside = run.raw == run.hidden
    else:
        ties = exponent_ties(spec.quant_method)
        if spec.qat_method is QatMethod.TQT:
            scales = scale_of_threshold(entries[THRESHOLD], spec.bits, ties)[0]
        else:
            running = _running_of_steps(entries, run.hidden / scale, active, reverse=reverse)
            scales = scale_of_statistic(running, spec.bits, ties)
        inside = gradient_mask(spec, run.hidden / scale, scales[:, None, None])
    return lax.convert_element_type(inside, jnp.float32)


def threshold_gradient(
    rule: HiddenRule, spec: QuantizerSpec, entries: Entries, run: Run, scale: Array, arrived: Array
) -> Array:
    """Gradient of ``learning_data``, float32 [1], given the gradient that arrived at each new state [T, B, H]."""
    states = run.exact if rule is HiddenRule.saturation else run.hidden / scale
    limit = scale if rule is HiddenRule.saturation else None

    def quantized(threshold: Array) -> Array:
        return quantize(spec, states, {**entries, THRESHOLD: threshold}, training=True, min_scale=limit)[0]

    (gradient,) = jax.vjp(quantized, entries[THRESHOLD])[1](arrived)
    return gradient


def _running_of_steps(entries: Entries, states: Array, active: Array | None, *, reverse: bool) -> Array:
    """running_data after each step, [T]: only active rows count, and a step without any moves nothing."""
    if active is not None:
        states = jnp.where(active[..., None], states, np.float32(0))
    largest = jax.vmap(_largest)(states)
    moves = jnp.ones(largest.shape, jnp.bool_) if active is None else active.any(1)

    def step(before: tuple[Array, Array], now: tuple[Array, Array]) -> tuple[tuple[Array, Array], Array]:
        running, started = before
        value, move = now
        running = jnp.where(move, moving_average(running, value, started), running)
        return (running, started | move), running

    start = (entries[RUNNING_DATA], entries[IS_INIT])
    return lax.scan(step, start, (largest, moves), reverse=reverse)[1]


def _largest(states: Array) -> Array:
    return largest_value(states, ActivationType.none)
