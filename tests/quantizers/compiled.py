"""Compiled calls of the quantizers that the tests share: one program for each specification and shape."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from linger_jax.quantizers import THRESHOLD, QuantizerSpec, State, quantize


@functools.partial(jax.jit, static_argnums=0, static_argnames="clip")
def train(
    spec: QuantizerSpec,
    x: jax.Array,
    state: State,
    cotangent: jax.Array,
    given_scale: jax.Array | None = None,
    min_scale: jax.Array | None = None,
    clip: float | None = None,
) -> tuple[jax.Array, State, jax.Array, jax.Array]:
    """Output, state, d x and d learning_data of a training call."""
    return train_uncompiled(spec, x, state, cotangent, given_scale, min_scale, clip)


def train_uncompiled(
    spec: QuantizerSpec,
    x: jax.Array,
    state: State,
    cotangent: jax.Array,
    given_scale: jax.Array | None = None,
    min_scale: jax.Array | None = None,
    clip: float | None = None,
) -> tuple[jax.Array, State, jax.Array, jax.Array]:
    """The same, operation by operation."""

    def call(x: jax.Array, threshold: jax.Array) -> tuple[jax.Array, State]:
        entries = {**state, THRESHOLD: threshold} if THRESHOLD in state else state
        return quantize(spec, x, entries, training=True, given_scale=given_scale, min_scale=min_scale, clip=clip)

    threshold = state.get(THRESHOLD, jnp.zeros(1, jnp.float32))
    y, pull_back, new_state = jax.vjp(call, x, threshold, has_aux=True)
    return y, new_state, *pull_back(cotangent)


@functools.partial(jax.jit, static_argnums=0)
def evaluate(
    spec: QuantizerSpec, x: jax.Array, state: State, min_scale: jax.Array | None = None
) -> tuple[jax.Array, State]:
    """Output and state of an evaluation call."""
    return quantize(spec, x, state, training=False, min_scale=min_scale)
