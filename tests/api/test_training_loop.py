"""The whole loop around a quantized model: TrainState, optax, donation, orbax."""

import functools

import flax.core
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

import linger_jax
from tests.api.training import State, batches, fresh_state, train_step, variables_of
from tests.interpret.steps import same_bits
from tests.models import Mlp, ResidualCnn, drawn, initialised, random_array

IMAGE = next(batches(1))[0]
METHODS = pytest.mark.parametrize("method", ["MOM", "TQT"])
OPTIMIZER = optax.sgd(0.05, momentum=0.9)
STEP = jax.jit(train_step)


@functools.cache
def fresh(method, dropout=0.1):
    """A model and its variables, made once: its training step compiles once for all tests."""
    qmodel = linger_jax.init(ResidualCnn(blocks=1, dropout=dropout), {"quant_info": {"qat_method": method}})
    return qmodel, initialised(qmodel, IMAGE)


def started(method="MOM"):
    qmodel, variables = fresh(method)
    return qmodel, fresh_state(qmodel, variables, OPTIMIZER)


def run(state, count, step=STEP, first=0):
    losses = []
    for x, labels in list(batches(first + count))[first:]:
        state, loss = step(state, x, labels)
        losses.append(float(loss))
    return state, losses


@METHODS
def test_loop_learns_and_moves_every_collection(method):
    qmodel, state = started(method)
    before = variables_of(state)
    if method == "TQT":
        before = linger_jax.calibrate(qmodel, before, [IMAGE], progress=False)
        state = fresh_state(qmodel, before, OPTIMIZER)
    state, losses = run(state, 25)
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:3])
    after = variables_of(state)
    assert jax.tree.structure(after) == jax.tree.structure(before)
    for collection in ("params", "batch_stats") if method == "TQT" else ("params", "batch_stats", "quant"):
        moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), before[collection], after[collection])
        assert any(jax.tree.leaves(moved)), collection
    if method == "TQT":
        before, after_threshold = (v["params"]["stem"]["output_quantizer"]["learning_data"] for v in (before, after))
        assert float(before[0]) != float(after_threshold[0])


def test_step_compiles_once():
    _, state = started()
    step = jax.jit(lambda *args: train_step(*args))
    run(state, 3, step)
    assert step._cache_size() == 1


def test_eager_apply_compiles_once_for_each_kind_of_call(compiled):
    qmodel, state = started()
    variables = variables_of(state)
    for _ in range(3):
        _, updates = qmodel.apply(variables, IMAGE, train=False, mutable=["quant"])
    once = len(compiled)
    assert once > 0
    for _ in range(3):
        qmodel.apply({**variables, **updates}, IMAGE, train=False, mutable=["quant"])
    assert len(compiled) == once


def test_donated_buffers_train_the_same():
    _, state = started()
    wanted, losses = run(state, 3)
    copied = jax.tree.map(jnp.copy, started()[1])
    donated, donated_losses = run(copied, 3, jax.jit(train_step, donate_argnums=0))
    assert copied.params["head"]["kernel"].is_deleted()
    assert losses == donated_losses
    same_bits(variables_of(donated), variables_of(wanted))


@METHODS
def test_training_resumed_from_a_checkpoint_equals_uninterrupted_training(method, tmp_path):
    _, state = started(method)
    uninterrupted, losses = run(state, 4)
    half, first_losses = run(started(method)[1], 2)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", half)
    _, template = started(method)
    with ocp.StandardCheckpointer() as checkpointer:
        restored = checkpointer.restore(tmp_path / "state", template)
    assert isinstance(restored, State)
    assert int(restored.step) == 2
    resumed, last_losses = run(restored, 2, first=2)
    assert first_losses + last_losses == losses
    same_bits(variables_of(resumed), variables_of(uninterrupted))
    same_bits(resumed.opt_state, uninterrupted.opt_state)


def test_thresholds_are_parameters_with_a_learning_rate_of_their_own():
    qmodel, variables = fresh("TQT")
    params = variables["params"]
    labels = linger_jax.parameter_labels(params)
    assert jax.tree.structure(labels) == jax.tree.structure(params)
    assert labels["stem"]["weight_quantizer"]["learning_data"] == "threshold"
    assert labels["stem"]["kernel"] == "weight"
    optimizer = optax.multi_transform({"threshold": optax.sgd(0.1), "weight": optax.set_to_zero()}, labels)
    state, _ = run(fresh_state(qmodel, variables, optimizer), 1)
    same = jax.tree.map(lambda a, b: bool(np.all(a == b)), params, state.params)
    assert same["stem"]["kernel"]
    assert not same["head"]["output_quantizer"]["learning_data"]


def test_parameter_of_the_model_that_is_called_learning_data_is_a_weight():
    params = {"own": {"learning_data": 1.0}, "dense": {"input_quantizer": {"0": {"learning_data": 2.0}}}}
    assert linger_jax.parameter_labels(params) == {
        "own": {"learning_data": "weight"},
        "dense": {"input_quantizer": {"0": {"learning_data": "threshold"}}},
    }


@METHODS
def test_frozen_variables_are_taken_as_plain_ones(method):
    x = random_array(0, 3, 5)
    qmodel = linger_jax.init(Mlp(), {"quant_info": {"qat_method": method}})
    variables = initialised(qmodel, x)
    frozen = flax.core.freeze(variables)
    same_bits(qmodel.apply(frozen, x, mutable=["quant"]), qmodel.apply(variables, x, mutable=["quant"]))
    same_bits(qmodel.adopt(flax.core.freeze({"params": drawn(Mlp(), x)["params"]}), x), variables)
    assert qmodel.plan(frozen, x) == qmodel.plan(variables, x)


def test_one_float_step_and_one_quantized_step_start_from_the_same_loss():
    qmodel, variables = fresh("MOM", dropout=0.0)
    x, labels = next(batches(1))
    _, quantized_loss = STEP(fresh_state(qmodel, variables, OPTIMIZER), x, labels)
    floats = {k: v for k, v in variables.items() if k != "quant"}
    logits, _ = qmodel.model.apply(floats, x, train=True, mutable=["batch_stats"])
    float_loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    np.testing.assert_allclose(quantized_loss, float_loss, rtol=0.05)
