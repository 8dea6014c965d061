"""The user's own training loop: Flax, optax and ``jax.jit``. Only ``model.apply`` knows whether it quantizes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import flax.struct
import jax
import numpy as np
import optax
from flax.training import train_state

import linger_jax
from linger_jax.cli.demo.digits import BATCH_SIZE, Digits, Split
from linger_jax.cli.demo.results import Curves
from linger_jax.typing import Variables

# Divides the validation and the test split, so that each model's evaluation compiles once.
EVALUATION_BATCH = 180


class Model(Protocol):
    """What a Flax module and a quantized model have in common."""

    def apply(self, variables: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run the model."""


class TrainState(train_state.TrainState):
    """Flax's training state, with the collections that the model itself updates."""

    collections: Any = flax.struct.field(default_factory=dict)
    """``batch_stats``, and ``quant`` for a quantized model."""


def train(
    model: Model,
    variables: Variables,
    digits: Digits,
    optimiser: optax.GradientTransformation,
    *,
    epochs: Iterable[int],
    key: jax.Array,
) -> tuple[TrainState, Curves]:
    """Train a float, a constrained or a quantized model.

    Args:
      model: anything with Flax's ``apply``.
      variables: where training starts; not changed.
      digits: the data.
      optimiser: any optax transformation.
      epochs: epoch numbers; they and ``key`` decide the order of the images.
      key: JAX key.

    Returns:
      The state after the last epoch, whichever did best on the validation split.
    """
    collections = {name: entries for name, entries in variables.items() if name != "params"}
    state = TrainState.create(apply_fn=model.apply, params=variables["params"], tx=optimiser, collections=collections)
    losses, accuracies = [], []
    for epoch in epochs:
        order = np.asarray(jax.random.permutation(jax.random.fold_in(key, epoch), len(digits.train)))
        batches = [order[i : i + BATCH_SIZE] for i in range(0, len(order) - BATCH_SIZE + 1, BATCH_SIZE)]
        total = 0.0
        for batch in batches:
            state, loss = train_step(state, digits.train.images[batch], digits.train.labels[batch])
            total += float(loss)
        losses.append(total / len(batches))
        accuracies.append(evaluate(model, variables_of(state), digits.validation))
    return state, Curves(tuple(losses), tuple(accuracies))


@jax.jit
def train_step(state: TrainState, images: jax.Array, labels: jax.Array) -> tuple[TrainState, jax.Array]:
    """One step of gradient descent; scales move because the collection ``quant`` is mutable."""

    def loss_of(params: Any) -> tuple[jax.Array, Any]:
        logits, updates = state.apply_fn(
            {"params": params, **state.collections}, images, train=True, mutable=list(state.collections)
        )
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), updates

    (loss, updates), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.params)
    return state.apply_gradients(grads=gradients, collections=updates), loss


def evaluate(model: Model, variables: Variables, split: Split) -> float:
    """Share of images that are classified correctly, in percent; a quantized model uses its stored scales."""
    return 100 * float(np.mean(np.argmax(predict(model, variables, split.images), axis=-1) == split.labels))


def predict(model: Model, variables: Variables, images: np.ndarray) -> np.ndarray:
    """Logits [n, 10] of images [n, 8, 8, 1]; n is a multiple of the evaluation batch."""
    batches = images.reshape(-1, EVALUATION_BATCH, *images.shape[1:])
    return np.concatenate([apply(model.apply, variables, batch) for batch in batches])


@functools.partial(jax.jit, static_argnums=0)
def apply(model_apply: Callable[..., Any], variables: Variables, images: jax.Array) -> jax.Array:
    """``model.apply``, compiled."""
    return model_apply(variables, images)


def falling_rate(epochs: int, digits: Digits, rate: float, threshold_rate: float) -> optax.GradientTransformation:
    """AdamW whose rate falls to zero; the thresholds of TQT, where there are any, have their own rate.

    Args:
      epochs: how many will be trained.
      digits: the data.
      rate: first learning rate of the weights.
      threshold_rate: first learning rate of the thresholds, which are base-2 logarithms.
    """
    steps = epochs * (len(digits.train) // BATCH_SIZE)
    return optax.multi_transform(
        {
            "weight": optax.adamw(optax.cosine_decay_schedule(rate, steps), weight_decay=1e-3),
            "threshold": optax.adam(optax.cosine_decay_schedule(threshold_rate, steps)),
        },
        linger_jax.parameter_labels,
    )


def variables_of(state: TrainState) -> Variables:
    """What ``model.apply`` takes."""
    return {"params": state.params, **state.collections}
