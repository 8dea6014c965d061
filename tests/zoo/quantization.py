"""The way of any model: float variables, calibration, jitted quantization-aware training, evaluation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax

import linger_jax
from linger_jax.plan import Plan
from tests.zoo.data import Batch

Loss = Callable[[Any, Any], jax.Array]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
      plan: of a training call.
      losses: of the training steps, one each.
      traces: how often the training step was traced.
      before, after: loss in evaluation, after calibration and after training.
    """

    plan: Plan
    losses: list[float]
    traces: int
    before: float
    after: float


def trained(
    model: nn.Module, batch: Batch, loss: Loss, *, rate: float = 1e-2, steps: int = 20, config: Any = None
) -> Outcome:
    """Trains a model on one batch.

    Args:
      model: called as ``model(x, train=...)``.
      batch: inputs and targets.
      loss: of the model's output and the targets.
      rate: of Adam.
      steps: how many.
      config: of linger_jax.
    """
    x, targets = batch
    # This kind of key compiles in a fraction of the default's time, for each parameter that is drawn.
    rngs = {name: jax.random.key(i, impl="rbg") for i, name in enumerate(("params", "dropout", "latent"))}
    qmodel = linger_jax.init(model, config)
    # With the operators that only training has: an evaluation has a part of them.
    floats = jax.jit(lambda: model.init(rngs, x, train=True))()
    variables = qmodel.adopt(floats, x, train=True, rngs=rngs)
    plan = qmodel.plan(variables, x, train=True, rngs=rngs)
    variables = linger_jax.calibrate(qmodel, variables, [(x,)], progress=False, train=False)
    optimizer = optax.adam(rate)
    traces = 0

    @jax.jit
    def step(params: Any, rest: Any, optimizer_state: Any, key: jax.Array) -> Any:
        nonlocal traces
        traces += 1

        def objective(params: Any) -> Any:
            output, updates = qmodel.apply(
                {"params": params, **rest},
                x,
                train=True,
                mutable=list(rest),
                rngs={"dropout": key, "latent": key},
            )
            return loss(output, targets), updates

        (value, rest), slopes = jax.value_and_grad(objective, has_aux=True)(params)
        changes, optimizer_state = optimizer.update(slopes, optimizer_state, params)
        return optax.apply_updates(params, changes), rest, optimizer_state, value

    @jax.jit
    def evaluate(variables: Any) -> jax.Array:
        return loss(qmodel.apply(variables, x, train=False), targets)

    before = float(evaluate(variables))
    rest = dict(variables)
    params = rest.pop("params")
    optimizer_state = optimizer.init(params)
    losses = []
    for i in range(steps):
        params, rest, optimizer_state, value = step(params, rest, optimizer_state, jax.random.key(i, impl="rbg"))
        losses.append(float(value))
    after = float(evaluate({"params": params, **rest}))
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((params, rest)))
    return Outcome(plan, losses, traces, before, after)


def cross_entropy(logits: jax.Array, labels: Any) -> jax.Array:
    """Mean over all labels."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
