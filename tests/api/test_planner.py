"""Plans are kept and used again, and never where the model would be traced to something else."""

from concurrent.futures import ThreadPoolExecutor

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linger_jax
from linger_jax.api import plan_cache
from tests.models import Mlp, ResidualCnn, drawn, initialised, random_array

KEY = jax.random.key(0)
X = random_array(1, 4, 5)


@pytest.fixture
def stagings(monkeypatch):
    """The calls that were staged."""
    calls = []
    stage = plan_cache.stage

    def counted(*args):
        calls.append(args)
        return stage(*args)

    monkeypatch.setattr(plan_cache, "stage", counted)
    return calls


@pytest.fixture
def model():
    """A model whose plan for the call with ``X`` is kept."""
    qmodel = linger_jax.init(Mlp())
    variables = qmodel.adopt(drawn(Mlp(), X), X)
    return qmodel, variables


def test_the_same_call_is_planned_once_whether_it_is_planned_adopted_or_run(model, stagings):
    qmodel, variables = model
    assert qmodel.plan(variables, X, verdict=False) is qmodel.plan(variables, X, verdict=False)
    qmodel.adopt(variables, X)
    qmodel.apply(variables, X, mutable=["quant"])
    assert stagings == []


def test_another_trace_of_the_same_step_plans_nothing_anew(model, stagings):
    qmodel, variables = model

    def step(v, x):
        return qmodel.apply(v, x, mutable=["quant"])

    jax.jit(step)(variables, X)
    staged = len(stagings)
    jax.jit(lambda v, x: step(v, x))(variables, X)
    jax.eval_shape(step, variables, X)
    assert len(stagings) == staged


@pytest.mark.parametrize(
    "other",
    [
        lambda q, v: q.plan(v, X[:2], verdict=False),
        lambda q, v: q.plan(v, X, method="__call__", verdict=False),
        lambda q, v: q.plan(v, linger_jax.from_tensor_to_qtensor(X, 8, 8), verdict=False),
    ],
    ids=["shape", "method", "quantized input"],
)
def test_another_call_is_planned_anew(model, stagings, other):
    qmodel, variables = model
    first = qmodel.plan(variables, X, verdict=False)
    assert other(qmodel, variables) is not first
    assert len(stagings) == 1


def test_static_arguments_tell_plans_apart():
    qmodel = linger_jax.init(ResidualCnn(blocks=1))
    x = random_array(2, 1, 8, 8, 1)
    variables = initialised(qmodel, x)
    training = [qmodel.plan(variables, x, train=train, verdict=False) for train in (True, False, True)]
    assert training[0] is training[2]
    assert training[0] is not training[1]
    assert [n.layer.attributes["training"] for n in training[1].graph.walk() if n.op == "batch_norm"] == [False]


def test_a_context_that_changes_a_trace_changes_the_plan(model, stagings):
    qmodel, variables = model
    before = qmodel.plan(variables, X, verdict=False)
    with jax.default_matmul_precision("highest"):
        precise = qmodel.plan(variables, X, verdict=False)
    with jax.enable_x64(True):
        wide = qmodel.plan(variables, X, verdict=False)
    assert len({id(plan) for plan in (before, precise, wide)}) == 3
    assert qmodel.plan(variables, X, verdict=False) is before
    assert len(stagings) == 2


def test_interceptors_of_the_user_are_seen_and_never_kept(model):
    qmodel, variables = model

    def without_second(next_fun, args, kwargs, context):
        return args[0] if context.module.name == "second" else next_fun(*args, **kwargs)

    names = [row.name for row in qmodel.plan(variables, X, verdict=False).rows()]
    with nn.intercept_methods(without_second):
        inside = [row.name for row in qmodel.plan(variables, X, verdict=False).rows()]
    assert "second" in names
    assert "second" not in inside
    assert [row.name for row in qmodel.plan(variables, X, verdict=False).rows()] == names


def test_a_model_around_a_traced_value_is_planned_in_each_trace():
    class Scaled(nn.Module):
        factor: jax.Array

        @nn.compact
        def __call__(self, x):
            return nn.Dense(3)(x * self.factor)

    @jax.jit
    def run(factor, variables):
        return linger_jax.init(Scaled(factor)).apply(variables, X)

    plain = linger_jax.init(Scaled(jnp.float32(1)))
    variables = initialised(plain, X)
    shared = []

    @jax.jit
    def twice(factor, variables):
        qmodel = linger_jax.init(Scaled(factor))
        shared.append(qmodel)
        return qmodel.apply(variables, X), jax.jit(lambda v: qmodel.apply(v, X))(variables)

    one, two = twice(jnp.float32(0.5), variables)
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one, run(jnp.float32(0.5), variables))
    assert not shared[0]._plan_cache._plans


def test_only_the_last_plans_are_kept(model, stagings, monkeypatch):
    monkeypatch.setattr(plan_cache, "KEPT", 2)
    qmodel, variables = model
    for rows in (1, 2, 3, 3, 2, 1):
        qmodel.plan(variables, X[:rows], verdict=False)
    assert len(stagings) == 4
    assert len(qmodel._plan_cache._plans) == 2


def test_threads_share_plans(model, stagings):
    qmodel, variables = model
    with ThreadPoolExecutor(4) as pool:
        plans = list(pool.map(lambda _: qmodel.plan(variables, X[:3], verdict=False), range(16)))
    assert len(stagings) <= 4
    assert all(plan == plans[0] for plan in plans)
