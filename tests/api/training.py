"""A training loop as a user writes it: Flax's TrainState, optax, mutable collections, dropout keys."""

from __future__ import annotations

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax.training import train_state


class State(train_state.TrainState):
    """TrainState with the collections that are no parameters."""

    collections: Any = flax.struct.field(default_factory=dict)


def fresh_state(qmodel: Any, variables: Any, optimizer: Any = None) -> State:
    """The state before the first step. (optax.adam itself needs JAX's ordinary promotion rules.)"""
    optimizer = optimizer or optax.sgd(0.05, momentum=0.9)
    collections = {c: v for c, v in variables.items() if c != "params"}
    state = State.create(apply_fn=qmodel.apply, params=variables["params"], tx=optimizer, collections=collections)
    return state.replace(step=jnp.zeros((), jnp.int32))  # Flax starts with a Python 0: the second step would recompile


def train_step(state: State, x: jax.Array, labels: jax.Array) -> tuple[State, jax.Array]:
    """One step of cross-entropy; jit it."""
    key = jax.random.fold_in(jax.random.key(7), state.step)

    def loss_of(params: Any) -> Any:
        variables = {"params": params, **state.collections}
        logits, updates = state.apply_fn(
            variables, x, train=True, rngs={"dropout": key}, mutable=list(state.collections)
        )
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), updates

    (loss, updates), slopes = jax.value_and_grad(loss_of, has_aux=True)(state.params)
    return state.apply_gradients(grads=slopes, collections={**state.collections, **updates}), loss


def variables_of(state: State) -> Any:
    """All collections of a state."""
    return {"params": state.params, **state.collections}


def batches(count: int, size: int = 16) -> Any:
    """Images whose label is the brightest of three channels, different at each step."""
    for i in range(count):
        key = jax.random.key(100 + i)
        x = jax.random.normal(key, (size, 8, 8, 4), jnp.float32)
        labels = jax.random.randint(jax.random.fold_in(key, 1), (size,), 0, 3)
        yield x.at[..., :3].add(jax.nn.one_hot(labels, 3)[:, None, None, :]), labels
