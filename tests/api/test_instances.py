"""Instances: in threads, copied, inside the user's jit; boxed parameters."""

import copy
import gc
import pickle
import threading
import weakref

import flax.linen as nn
import jax
import numpy as np
import pytest

import linger_jax
from linger_jax.api import plan_cache, quantized_model
from tests.interpret.steps import TQT, same_bits
from tests.models import Mlp, initialised, random_array

# --- several models at once ---


def in_threads(*functions):
    """Runs the functions at once; returns their results in order."""
    results = [None] * len(functions)
    barrier = threading.Barrier(len(functions))

    def target(i, function):
        barrier.wait()
        results[i] = function()

    threads = [threading.Thread(target=target, args=(i, f)) for i, f in enumerate(functions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def trajectory(qmodel):
    x = random_array(0, 6, 5)
    variables = initialised(qmodel, x)
    variables = linger_jax.calibrate(qmodel, variables, [x], progress=False)
    outputs = []
    for i in range(3):
        output, updates = qmodel.apply(variables, random_array(i, 6, 5), mutable=["quant"])
        variables = {**variables, **updates}
        outputs.append(output)
    return outputs, variables, qmodel.apply(variables, x)


@pytest.mark.filterwarnings("ignore:clamps cut values:linger_jax.LingerWarning")
def test_two_models_with_different_configurations_do_not_meet_in_two_threads():
    configs = (
        {"platform": "venusA"},
        {**TQT, "platform": "mars", "clamp_info": {"clamp_activation_value": 1}},
    )
    alone = [trajectory(linger_jax.init(Mlp(), config)) for config in configs]
    together = in_threads(*(lambda c=c: trajectory(linger_jax.init(Mlp(), c)) for c in configs * 2))
    for i, result in enumerate(together):
        same_bits(result, alone[i % 2])


def test_one_instance_serves_two_threads():
    qmodel = linger_jax.init(Mlp())
    wanted = trajectory(linger_jax.init(Mlp()))
    for result in in_threads(*[lambda: trajectory(qmodel)] * 4):
        same_bits(result, wanted)


def test_calibration_in_one_thread_is_not_seen_in_another():
    x = random_array(0, 6, 5)
    qmodel = linger_jax.init(Mlp())
    variables = linger_jax.calibrate(qmodel, initialised(qmodel, x), [x], progress=False)
    wanted = qmodel.apply(variables, x)
    entered, leave = threading.Event(), threading.Event()

    def hold():
        with linger_jax.calibration():
            entered.set()
            leave.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait()
    try:
        same_bits(qmodel.apply(variables, x), wanted)
    finally:
        leave.set()
        thread.join()


# --- what an instance keeps ---


def test_functions_of_calls_that_are_not_made_any_more_are_forgotten(monkeypatch):
    monkeypatch.setattr(quantized_model, "KEPT", 2)
    monkeypatch.setattr(plan_cache, "KEPT", 2)
    x = random_array(0, 6, 5)
    qmodel = linger_jax.init(Mlp())
    variables = linger_jax.calibrate(qmodel, initialised(qmodel, x), [x], progress=False)
    wanted, methods = qmodel.apply(variables, x), []
    for _ in range(5):
        method = lambda model, x: model(x)  # noqa: E731
        methods.append(weakref.ref(method))
        same_bits(qmodel.apply(variables, x, method=method), wanted)
    del method
    gc.collect()
    assert [method() is not None for method in methods] == [False, False, False, True, True]


def test_a_call_that_is_made_again_and_again_is_kept(monkeypatch, compiled):
    monkeypatch.setattr(quantized_model, "KEPT", 2)
    x = random_array(0, 6, 5)
    qmodel = linger_jax.init(Mlp())
    variables = linger_jax.calibrate(qmodel, initialised(qmodel, x), [x], progress=False)
    qmodel.apply(variables, x)
    for name in ("__call__", None):
        qmodel.apply(variables, x, method=name)
    before = len(compiled)
    qmodel.apply(variables, x)
    assert len(compiled) == before


# --- copies ---


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda q: pickle.loads(pickle.dumps(q))], ids=["deepcopy", "pickle"]
)
def test_copied_model_computes_the_same(duplicate):
    x = random_array(0, 3, 5)
    qmodel = linger_jax.init(Mlp(), TQT, disable_submodel="second")
    variables = initialised(qmodel, x)
    wanted = qmodel.apply(variables, x, mutable=["quant"])
    other = duplicate(qmodel)
    assert other.settings == qmodel.settings
    same_bits(other.apply(variables, x, mutable=["quant"]), wanted)


def test_state_survives_jit_boundaries_and_shape_evaluation():
    x = random_array(0, 3, 5)
    qmodel = linger_jax.init(Mlp())
    variables = qmodel.init(jax.random.key(0), x)
    jitted = jax.jit(qmodel.init)(jax.random.key(0), x)
    same_bits(jitted["quant"], variables["quant"])
    # The weights are drawn by Flax, whose arithmetic is XLA's: one program may round where another does not.
    for one, other in zip(jax.tree.leaves(jitted["params"]), jax.tree.leaves(variables["params"]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)
    shapes = jax.eval_shape(qmodel.init, jax.random.key(0), x)
    assert jax.tree.map(lambda a: (a.shape, a.dtype), shapes) == jax.tree.map(lambda a: (a.shape, a.dtype), variables)
    output = jax.eval_shape(lambda v: qmodel.apply(v, x, mutable=["quant"])[0], shapes)
    assert output.shape == (3, 3)


def test_jit_without_traced_arguments_runs():
    x = random_array(0, 3, 5)
    qmodel = linger_jax.init(Mlp())
    variables = linger_jax.calibrate(qmodel, initialised(qmodel, x), [x], progress=False)
    same_bits(jax.jit(lambda: qmodel.apply(variables, x))(), qmodel.apply(variables, x))


def test_boxed_parameters_train_and_stay_boxed():
    class Boxed(nn.Module):
        @nn.compact
        def __call__(self, x):
            init = nn.with_partitioning(nn.initializers.lecun_normal(), (None, "model"))
            return nn.Dense(3, kernel_init=init)(x)

    x = random_array(0, 3, 5)
    qmodel = linger_jax.init(Boxed())
    variables = initialised(qmodel, x)
    kernel = variables["params"]["Dense_0"]["kernel"]
    assert (type(kernel), kernel.names) == (nn.Partitioned, (None, "model"))
    output, updates = qmodel.apply(variables, x, mutable=["quant", "params"])
    assert isinstance(updates["params"]["Dense_0"]["kernel"], nn.Partitioned)
    plain = {**variables, "params": nn.unbox(variables["params"])}
    same_bits(qmodel.apply(plain, x, mutable=["quant"])[0], output)
