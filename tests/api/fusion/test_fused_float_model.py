"""A fused float model computes, trains and is kept as the model it was made of."""

import pickle
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.training.train_state import TrainState

import linger_jax
import linger_jax.nn
from tests.api.fusion.fused_blocks import IMAGE, KEY, OPEN, ConvNormRelu, settled

# --- the fused float model -------------------------------------------------------------------------------------------

FORMS = [
    {},
    {"bias": False},
    {"options": {"strides": (2, 2), "kernel_dilation": (2, 1), "padding": ((1, 2), (0, 1))}},
    {"features": 6, "options": {"feature_group_count": 3}},
    {"transposed": True, "features": 5},
    {"transposed": True, "features": 5, "options": {"strides": (2, 2), "kernel_dilation": (2, 2)}},
    {"transposed": True, "features": 5, "options": {"transpose_kernel": True}},
    {"transposed": True, "features": 6, "options": {"feature_group_count": 3, "output_padding": 1, "strides": 2}},
]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_fused_model_evaluates_as_the_model_and_so_does_what_it_folds_to(form):
    """Defects of 5.2 and 5.3: eps fixed at 1e-5; transposed folding along input channels; their dilation lost; fresh
    random weights in the fused module."""
    model = ConvNormRelu(**form)
    variables = settled(model, IMAGE)
    fused, traced, _ = linger_jax.trace_layers(model, variables, IMAGE)
    want = model.apply(variables, IMAGE)
    np.testing.assert_allclose(fused.apply(traced, IMAGE), want, rtol=2e-5, atol=2e-5)
    folded = linger_jax.init(fused, {"clamp_info": OPEN}).adopt(traced, IMAGE)
    assert set(folded["params"]) == {"conv"}
    got = nn.relu(model.convolution(parent=None).apply({"params": folded["params"]["conv"]}, IMAGE))
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5)


def test_training_blends_the_normalized_and_the_folded_convolution():
    model = ConvNormRelu(bias=False)
    variables = settled(model, IMAGE)
    fused, _, _ = linger_jax.trace_layers(model, variables, IMAGE)
    y, updates = fused.apply(variables, IMAGE, train=True, mutable=["batch_stats"])
    p, s = variables["params"], variables["batch_stats"]["norm"]
    conv = nn.Conv(4, (3, 3), use_bias=False)
    raw = np.asarray(conv.apply({"params": p["conv"]}, IMAGE), np.float64)
    mean, count = raw.mean((0, 1, 2)), raw[..., 0].size
    biased, unbiased = raw.var((0, 1, 2)), raw.var((0, 1, 2)) * count / (count - 1)
    gamma, beta = (np.asarray(p["norm"][name], np.float64) for name in ("scale", "bias"))
    normalized = (raw - mean) / np.sqrt(biased + 1e-3) * gamma + beta
    factor = gamma / np.sqrt(unbiased + 1e-3)
    blend = 0.1 * normalized + 0.9 * (raw * factor + beta - mean * factor)
    np.testing.assert_allclose(y, np.maximum(blend, 0), rtol=1e-4, atol=1e-5)
    after = updates["batch_stats"]["norm"]
    np.testing.assert_allclose(after["mean"], 0.99 * s["mean"] + 0.01 * mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after["var"], 0.99 * s["var"] + 0.01 * unbiased, rtol=1e-5)


def test_tracing_moves_no_running_statistic():
    """Defect of 5.3: tracing in training mode moves the statistics of the reference's BatchNorm."""
    model = ConvNormRelu()
    variables = settled(model, IMAGE)
    _, traced, _ = linger_jax.trace_layers(model, variables, IMAGE, train=True)
    jax.tree.map(np.testing.assert_array_equal, traced, variables)


def test_a_fused_model_trains_in_a_train_state_quantized_constrained_and_float():
    model = ConvNormRelu()
    fused, variables, _ = linger_jax.trace_layers(model, settled(model, IMAGE), IMAGE)
    target = jnp.ones((2, 9, 9, 4))

    class State(TrainState):
        rest: Any

    def losses(runs, start):
        state = State.create(
            apply_fn=runs.apply,
            params=start["params"],
            tx=optax.sgd(0.05),
            rest={name: entries for name, entries in start.items() if name != "params"},
        )

        @jax.jit
        def step(state):
            def loss(params):
                y, updates = state.apply_fn(
                    {"params": params, **state.rest}, IMAGE, train=True, mutable=["quant", "batch_stats"]
                )
                return jnp.mean(jnp.square(y - target)), updates

            (value, updates), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
            return state.apply_gradients(grads=grads, rest={**state.rest, **updates}), value

        values = []
        for _ in range(4):
            state, value = step(state)
            values.append(float(value))
        return values

    cmodel, qmodel = linger_jax.constrain(fused), linger_jax.init(fused)
    for runs, start in ((fused, variables), (cmodel, cmodel.adopt(variables, IMAGE))):
        values = losses(runs, start)
        assert values == sorted(values, reverse=True)
    start = qmodel.adopt(variables, IMAGE)
    assert start["batch_stats"] == {}, "a loop that hands this collection on keeps working"
    values = losses(qmodel, start)
    assert values[-1] < values[0]


def test_a_fused_model_is_a_value():
    model = ConvNormRelu()
    fused, variables, _ = linger_jax.trace_layers(model, settled(model, IMAGE), IMAGE)
    copy = pickle.loads(pickle.dumps(fused))
    assert copy == fused
    assert hash(copy) == hash(fused)
    np.testing.assert_array_equal(copy.apply(variables, IMAGE), fused.apply(variables, IMAGE))
    assert fused.plan(variables, IMAGE).rows()[0].op == "Conv+BatchNorm"
    assert jax.tree.structure(fused.init(KEY, IMAGE)) == jax.tree.structure(model.init(KEY, IMAGE))
