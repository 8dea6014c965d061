"""One training step for each way to train a model: float, linger_jax, qwix.

A step is ``step(state, batch) -> (state, loss)`` with the parameters, every other collection and the optimizer's state
in ``state``: value and gradients, then the optimizer's update. All contenders start from the same float variables.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import optax
from flax import linen as nn
from models import Task

State = Any
Batch = tuple[jax.Array, jax.Array]
Step = Callable[[State, Batch], tuple[State, jax.Array]]
Forward = Callable[[Any, jax.Array], tuple[jax.Array, Any]]
"""(variables, x) -> (logits, the collections that changed)."""


@dataclass(frozen=True)
class Contender:
    """A step to be timed, with its first state."""

    step: Step
    state: State


def float_flax(task: Task, optimizer: optax.GradientTransformation) -> Contender:
    """The float model."""
    model = task.model()
    variables = _float_variables(model, task)

    def forward(variables: Any, x: jax.Array) -> tuple[jax.Array, Any]:
        return model.apply(variables, x, train=True, mutable=["batch_stats"])

    return _contender(forward, variables, optimizer)


def linger(method: str, lowering: str) -> Callable[[Task, optax.GradientTransformation], Contender]:
    """linger_jax, 8-bit weights and activations."""

    def make(task: Task, optimizer: optax.GradientTransformation) -> Contender:
        import linger_jax

        model = task.model()
        qmodel = linger_jax.init(model, {"quant_info": {"qat_method": method}, "lowering": lowering})
        x, _ = task.batch()
        variables = qmodel.adopt(_float_variables(model, task), x, train=True)

        def forward(variables: Any, x: jax.Array) -> tuple[jax.Array, Any]:
            return qmodel.apply(variables, x, train=True, mutable=["quant", "batch_stats"])

        return _contender(forward, variables, optimizer)

    return make


def qwix(provider: str) -> Callable[[Task, optax.GradientTransformation], Contender]:
    """qwix, int8 rules for weights and activations of every layer."""

    def make(task: Task, optimizer: optax.GradientTransformation) -> Contender:
        import qwix as library

        model = task.model()
        rules = [library.QtRule(module_path=".*", weight_qtype="int8", act_qtype="int8")]
        if provider == "OdmlQatProvider":
            rules = [library.QuantizationRule(module_path=".*", weight_qtype="int8", act_qtype="int8")]
        qmodel = library.quantize_model(model, getattr(library, provider)(rules))
        x, _ = task.batch()
        variables = {**qmodel.init(jax.random.key(0), x, train=True), **_float_variables(model, task)}
        others = [name for name in variables if name != "params"]

        def forward(variables: Any, x: jax.Array) -> tuple[jax.Array, Any]:
            return qmodel.apply(variables, x, train=True, mutable=others)

        return _contender(forward, variables, optimizer)

    return make


BASE = "float Flax"

CONTENDERS: dict[str, Callable[[Task, optax.GradientTransformation], Contender]] = {
    BASE: float_flax,
    "linger_jax MOM": linger("MOM", "auto"),
    "linger_jax MOM, stock lowering": linger("MOM", "stock"),
    "linger_jax TQT": linger("TQT", "auto"),
    "linger_jax TQT, stock lowering": linger("TQT", "stock"),
    "qwix QtProvider": qwix("QtProvider"),
    "qwix OdmlQatProvider": qwix("OdmlQatProvider"),
}


def _float_variables(model: nn.Module, task: Task) -> Any:
    x, _ = task.batch()
    return model.init(jax.random.key(0), x, train=False)


def _contender(forward: Forward, variables: Any, optimizer: optax.GradientTransformation) -> Contender:
    params = variables["params"]
    others = {name: collection for name, collection in variables.items() if name != "params"}

    def step(state: State, batch: Batch) -> tuple[State, jax.Array]:
        params, others, optimizer_state = state
        x, labels = batch

        def loss(params: Any) -> tuple[jax.Array, Any]:
            logits, updates = forward({"params": params, **others}, x)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), updates

        (value, updates), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        changes, optimizer_state = optimizer.update(gradients, optimizer_state, params)
        return (optax.apply_updates(params, changes), {**others, **updates}, optimizer_state), value

    return Contender(step, (params, others, optimizer.init(params)))
