"""Quantizers that share one scale, because their values meet in a concatenation (docs/decisions.md D22).

A member may be read before the others have run (``concatenate([x, f(x)])``), so the common scale of a training step is
that of the statistics and thresholds before it: the smallest that any member would take by itself. Every step then has
one scale, and evaluation has the one of the last step. Only in the very first step, when MOM has no statistic yet, a
member takes the smaller of its own scale and those of the members before it.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.config import QatMethod
from linger_jax.interpret.context import Array, Context, Mode, State
from linger_jax.numerics import scale_of_statistic, scale_of_threshold
from linger_jax.plan import Quantizer
from linger_jax.quantizers import IS_INIT, RUNNING_DATA, SCALE, THRESHOLD, exponent_ties, quantize, saw_data
from linger_jax.quantizers import State as Entries
from linger_jax.typing import Path

_NONE = np.float32(np.inf)


def begin_region(ctx: Context) -> None:
    """Settles the scales of the tied quantizers whose state a region holds, before any of them runs.

    In training the common scales go to ``ctx.tied``; in evaluation they replace the stored ones.
    """
    groups = {
        q.tied
        for path in ctx.state
        if (q := ctx.quantizers[path]).tied and all(member in ctx.state for member in q.tied)
    }
    if ctx.mode is Mode.train:
        ctx.tied = {path: scale for group in groups for path, scale in _common(ctx, group).items()}
    elif ctx.evaluating:
        for group in groups:
            ctx.state.update(_evaluated(ctx.state, group))


def quantize_tied(
    ctx: Context, path: Path, x: Array, *, min_scale: Array | None, clip: float | None
) -> tuple[Array, Entries]:
    """A training call of a tied quantizer; arguments and results as of ``quantize``."""
    quantizer, state, common = ctx.quantizers[path], ctx.state[path], ctx.tied[path]
    spec = quantizer.spec
    if spec.qat_method is QatMethod.TQT:
        limit = common if min_scale is None else jnp.minimum(common, min_scale)
        return quantize(spec, x, state, training=True, min_scale=limit, clip=clip)
    _, own = quantize(spec, x, state, training=True, min_scale=min_scale, clip=clip)
    before = [jnp.where(ctx.state[p][IS_INIT], ctx.state[p][SCALE], _NONE) for p in quantizer.tied]
    first = _smallest([own[SCALE], *before])
    scale = jnp.where(jnp.isinf(common), first, jnp.where(state[IS_INIT], common, jnp.minimum(common, first)))
    y, new = quantize(spec, x, state, training=True, given_scale=scale, min_scale=min_scale, clip=clip)
    return y, {**own, SCALE: new[SCALE]}


def _common(ctx: Context, group: tuple[Path, ...]) -> dict[Path, Array]:
    scales = [_own_scale(ctx.quantizers, ctx.state, path) for path in group]
    return dict.fromkeys(group, _smallest(scales))


def _own_scale(quantizers: Mapping[Path, Quantizer], state: State, path: Path) -> Array:
    """The scale that a quantizer would take by itself; infinite where nothing is known yet."""
    quantizer, entries = quantizers[path], jax.tree.map(lax.stop_gradient, state[path])
    spec, ties = quantizer.spec, exponent_ties(quantizer.spec.quant_method)
    limits = [lax.stop_gradient(state[limit][SCALE]) for limit in quantizer.limited_by]
    if spec.qat_method is QatMethod.TQT:
        threshold = entries[THRESHOLD].reshape(entries[SCALE].shape)
        return scale_of_threshold(threshold, spec.bits, ties)[0]
    own = _smallest([scale_of_statistic(entries[RUNNING_DATA], spec.bits, ties), *limits])
    return jnp.where(entries[IS_INIT], own, _NONE)


def _evaluated(state: State, group: tuple[Path, ...]) -> State:
    known = []
    for path in group:
        entries = state[path]
        known.append(jnp.where(saw_data(entries) | (entries[SCALE] != 1.0), entries[SCALE], _NONE))
    common = _smallest(known)
    return {p: {**state[p], SCALE: jnp.where(jnp.isinf(common), state[p][SCALE], common)} for p in group}


def _smallest(scales: list[Array]) -> Array:
    smallest = scales[0]
    for scale in scales[1:]:
        smallest = jnp.minimum(smallest, scale)
    return smallest
