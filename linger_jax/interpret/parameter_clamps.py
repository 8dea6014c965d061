"""Clamps that overwrite parameters, made once before the walk (docs/decisions.md D24).

A layer that is called again, or in each iteration of a loop, then meets the clamped parameter every time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from linger_jax.config import QatMethod
from linger_jax.interpret.context import Array, Mode, State
from linger_jax.numerics import clip_symmetric
from linger_jax.plan import Quantizer
from linger_jax.plan.graph import FileLayout
from linger_jax.quantizers import (
    WEIGHT_CLAMPED,
    QuantizerKind,
    QuantizerSpec,
    clamp_bound,
    clamp_weight_once,
    saw_data,
)
from linger_jax.typing import Path

Entries = dict[str, Array]
Clamp = Callable[[Array, Entries], tuple[Array, Entries]]

_UNBOUNDED = np.float32(np.inf)


def clamp_parameters(
    quantizers: Mapping[Path, Quantizer],
    parameters: Mapping[Path, Array],
    state: State,
    mode: Mode,
) -> tuple[dict[Path, Array], State]:
    """Clamps the parameters that quantizers read directly.

    Args:
      quantizers: the plan's quantizers.
      parameters: variables by path, collection first.
      state: state of every quantizer.
      mode: training clamps weights whose flag is not set yet (MOM; docs/specification/quantizers.md section 3.2),
        calibration also clamps biases (docs/specification/config.md section 4), in its first batch; otherwise nothing
        happens.

    Returns:
      The clamped parameters only, by path, and the new state. The gradient of a clamp is the identity, as if the
      parameter had been overwritten before the step.
    """
    clamped: dict[Path, Array] = {}
    state = dict(state)
    for path, quantizer in quantizers.items():
        read = quantizer.parameters
        if (
            _clamp_of(quantizer.spec, mode) is None
            or not quantizer.active
            or not read
            or any(p[0] != "params" for p in read)
        ):
            continue
        values = [clamped.get(p, parameters[p]) for p in read]
        new, state[path] = _clamp_joined(
            quantizer.spec, mode, quantizer.file_layout, len(quantizer.stack), values, state[path]
        )
        clamped.update(zip(read, new, strict=True))
    return clamped, state


def _clamp_of(spec: QuantizerSpec, mode: Mode) -> Clamp | None:
    if mode is Mode.train and spec.kind is QuantizerKind.weight and spec.qat_method is QatMethod.MOM:
        return functools.partial(clamp_weight_once, spec)
    if mode is Mode.calibrate and spec.kind is not QuantizerKind.activation:
        return functools.partial(_clamp_in_calibration, spec)
    return None


def _clamp_in_calibration(spec: QuantizerSpec, weight: Array, entries: Entries) -> tuple[Array, Entries]:
    bound = clamp_bound(spec, weight)
    if bound is None:
        return weight, entries
    done = saw_data(entries)
    if WEIGHT_CLAMPED in entries and spec.qat_method is QatMethod.MOM:
        done = done | entries[WEIGHT_CLAMPED]
    return clip_symmetric(weight, jnp.where(done, _UNBOUNDED, bound)), entries


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _clamp_joined(
    spec: QuantizerSpec,
    mode: Mode,
    layout: FileLayout | None,
    depth: int,
    values: list[Array],
    entries: Entries,
) -> tuple[list[Array], Entries]:
    """The clamp of parameters that one quantizer reads joined; compiled once for each form, however many have it."""
    whole = values[0] if len(values) == 1 else jnp.concatenate(values, axis=-1)
    clamp = _clamp_of(spec, mode)
    assert clamp is not None, (spec, mode)
    whole, entries = _clamp_stacked(clamp, layout, depth, whole, entries)
    widths = np.cumsum([value.shape[-1] for value in values[:-1]])
    return jnp.split(whole, widths, axis=-1), entries


def _clamp_stacked(
    clamp: Clamp, layout: FileLayout | None, depth: int, value: Array, entries: Entries
) -> tuple[Array, Entries]:
    """One clamp for each layer of a stack, on the parameter as the reference's memory holds it."""

    def run(weight: Array, entries: Entries) -> tuple[Array, Entries]:
        if layout is None:
            return clamp(weight, entries)
        weight, entries = clamp(layout.to_file(weight), entries)
        return layout.from_file(weight), entries

    if not depth:
        return run(value, entries)
    mapped = run
    for _ in range(depth):
        mapped = jax.vmap(mapped)
    if WEIGHT_CLAMPED not in entries:
        return mapped(value, entries)
    # Mapped, the branch inside the clamp becomes a selection: this one keeps the means out of every later step.
    done = jnp.all(entries[WEIGHT_CLAMPED])
    result: tuple[Array, Entries] = jax.lax.cond(done, lambda w, e: (w, e), mapped, value, entries)
    return result
