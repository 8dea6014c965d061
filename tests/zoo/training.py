"""The way of any model: float variables, calibration, jitted quantization-aware training, evaluation."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax

import linger_jax
from linger_jax.plan import Plan
from tests.zoo.specimens import SPECIMENS

RATE, STEPS = 1e-2, 20
"""Of Adam, on one batch."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
      qmodel: the quantized model.
      variables: after training.
      inputs: what it was trained on.
      plan: of a training call.
      losses: of the training steps, one each.
      traces: how often the training step was traced.
      before, after: loss in evaluation, after calibration and after training.
      evaluate: the model's output of ``(variables, inputs)``, compiled for as many inputs as it was trained on.
    """

    qmodel: linger_jax.QuantizedModel
    variables: Any
    inputs: np.ndarray
    plan: Plan
    losses: list[float]
    traces: int
    before: float
    after: float
    evaluate: Callable[[Any, Any], Any]


@functools.cache
def outcome(name: str) -> Outcome:
    """Trains a network of the zoo, once in a process; the tests look at what came of it."""
    # These models rely on the implicit casts and broadcasts of jax.numpy, as most do.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return _trained(name)


def _trained(name: str) -> Outcome:
    specimen = SPECIMENS[name]
    x, targets = specimen.batch()
    # This kind of key compiles in a fraction of the default's time, for each parameter that is drawn.
    rngs = {name: jax.random.key(i, impl="rbg") for i, name in enumerate(("params", "dropout", "latent"))}
    qmodel = linger_jax.init(specimen.model, {"platform": specimen.platform})
    # With the operators that only training has: an evaluation has a part of them.
    floats = jax.jit(lambda: specimen.model.init(rngs, x, train=True))()
    variables = qmodel.adopt(floats, x, train=True, rngs=rngs)
    plan = qmodel.plan(variables, x, train=True, rngs=rngs, verdict=False)
    variables = linger_jax.calibrate(qmodel, variables, [(x,)], progress=False, train=False)
    optimizer = optax.adam(RATE)
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
            return specimen.loss(output, targets), updates

        (value, rest), slopes = jax.value_and_grad(objective, has_aux=True)(params)
        changes, optimizer_state = optimizer.update(slopes, optimizer_state, params)
        return optax.apply_updates(params, changes), rest, optimizer_state, value

    @jax.jit
    def evaluate(variables: Any, x: Any) -> Any:
        return qmodel.apply(variables, x, train=False)

    loss = jax.jit(specimen.loss)
    before = float(loss(evaluate(variables, x), targets))
    rest = dict(variables)
    params = rest.pop("params")
    optimizer_state = optimizer.init(params)
    losses = []
    for i in range(STEPS):
        params, rest, optimizer_state, value = step(params, rest, optimizer_state, jax.random.key(i, impl="rbg"))
        losses.append(float(value))
    variables = {"params": params, **rest}
    after = float(loss(evaluate(variables, x), targets))
    return Outcome(qmodel, variables, x, plan, losses, traces, before, after, evaluate)
