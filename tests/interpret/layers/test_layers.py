"""Layers by hand: what is quantized, in which order, and what their state holds afterwards.

Source: docs/specification/layers.md.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linger_jax import QTensor
from tests.interpret.steps import quantized, scale_for, trained
from tests.models import prepared, random_array

X = random_array(0, 6, 5)


def weight(w, scale, bits=8):
    """rint(w * scale), saturated, over scale: a weight quantizer by hand."""
    return np.clip(np.rint(np.asarray(w) * scale), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1) / scale


def test_dense_quantizes_input_weight_bias_and_clipped_output():
    qmodel, variables = prepared(nn.Dense(3), 4 * X, config={"clamp_info": {"clamp_activation_value": 8.0}})
    variables["params"]["bias"] = jnp.asarray([0.3, -0.7, 20.0])
    output, updates = qmodel.apply_qtensor(variables, 4 * X, mutable=["quant"])
    state = updates["quant"]
    kernel = np.asarray(variables["params"]["kernel"])
    x_scale, w_scale = scale_for(np.abs(4 * X).max()), scale_for(np.abs(kernel).max())
    x, w = quantized(4 * X, x_scale), weight(kernel, w_scale)
    b = np.rint(np.float32([0.3, -0.7, 20.0]) * x_scale * w_scale) / (x_scale * w_scale)
    y = np.clip(x @ w + b, -8.0, 8.0)
    assert np.abs(y).max() == 8.0
    y_scale = scale_for(8.0)
    np.testing.assert_array_equal(output.value, quantized(y, y_scale))
    scales = {name: float(entry["scale"]) for name, entry in state.items()}
    assert scales == {
        "input_quantizer": x_scale,
        "weight_quantizer": w_scale,
        "bias_quantizer": x_scale * w_scale,
        "output_quantizer": y_scale,
    }
    assert float(state["output_quantizer"]["running_data"]) == 8.0
    assert not bool(state["bias_quantizer"]["is_init"])


def test_statistics_are_moving_averages_and_evaluation_uses_stored_scales():
    qmodel, variables = prepared(nn.Dense(3), X)
    _, variables = trained(qmodel, variables, X)
    _, variables = trained(qmodel, variables, 8 * X)
    first, second = np.float32(np.abs(X).max()), np.float32(8 * np.abs(X).max())
    wanted = np.float32(np.float32(0.9) * first) + np.float32(np.float32(0.1) * second)
    state = variables["quant"]["input_quantizer"]
    assert float(state["running_data"]) == wanted
    output = qmodel.apply_qtensor(variables, 100 * X)
    scales = {name: float(entry["scale"]) for name, entry in variables["quant"].items()}
    x = quantized(100 * X, scales["input_quantizer"])
    y = x @ weight(variables["params"]["kernel"], scales["weight_quantizer"])
    np.testing.assert_array_equal(output.value, quantized(y, scales["output_quantizer"]))


def test_convolution_without_bias_keeps_an_unused_bias_quantizer():
    image = random_array(1, 2, 5, 5, 3)
    qmodel, variables = prepared(nn.Conv(4, (3, 3), use_bias=False), image)
    _, after = trained(qmodel, variables, image)
    assert "bias_quantizer" in variables["quant"]
    jax.tree.map(np.testing.assert_array_equal, after["quant"]["bias_quantizer"], variables["quant"]["bias_quantizer"])


@pytest.mark.parametrize("padding", ["SAME", "VALID", "CIRCULAR", "REFLECT", 1, ((0, 2), (1, 0))])
@pytest.mark.parametrize("groups", [1, 2])
def test_convolution_is_the_float_one_on_quantized_operands(padding, groups):
    image = random_array(1, 2, 6, 6, 4)
    model = nn.Conv(4, (3, 3), (2, 1), padding, feature_group_count=groups)
    qmodel, variables = prepared(model, image, config={"clamp_info": {"clamp_activation_value": None}})
    output, updates = qmodel.apply_qtensor(variables, image, mutable=["quant"])
    scales = {name: float(entry["scale"]) for name, entry in updates["quant"].items()}
    x = quantized(image, scales["input_quantizer"])
    params = {
        "kernel": weight(variables["params"]["kernel"], scales["weight_quantizer"]),
        "bias": weight(variables["params"]["bias"], scales["bias_quantizer"], bits=32),
    }
    exact = model.apply({"params": jax.tree.map(jnp.asarray, params)}, jnp.asarray(x))
    np.testing.assert_array_equal(output.value, quantized(exact, scales["output_quantizer"]))


def test_embedding_looks_up_quantized_rows_at_the_table_s_scale():
    tokens = jnp.array([[0, 3], [3, 1]])
    qmodel, variables = prepared(nn.Embed(5, 4), tokens)
    output, updates = qmodel.apply_qtensor(variables, tokens, mutable=["quant"])
    table = np.asarray(variables["params"]["embedding"])
    scale = scale_for(np.abs(table).max())
    np.testing.assert_array_equal(output.value, weight(table, scale)[np.asarray(tokens)])
    assert (float(output.scale), output.bits) == (scale, 8)
    assert set(updates["quant"]) == {"weight_quantizer", "bias_quantizer"}


def test_four_bit_weights_lie_on_fifteen_steps():
    qmodel, variables = prepared(nn.Embed(50, 4), jnp.arange(50), config={"quant_info": {"weight_bits": 4}})
    output = qmodel.apply_qtensor(variables, jnp.arange(50), mutable=["quant"])[0]
    steps = np.unique(np.asarray(output.value) * float(output.scale))
    assert output.bits == 4
    assert set(steps) <= set(range(-8, 8))
    assert len(steps) > 8


def test_dropout_keeps_the_scale_and_multiplies_the_value():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, *, train):
            x = nn.Dense(4, name="layer")(x)
            return x, nn.Dropout(0.5, deterministic=not train)(x)

    qmodel, variables = prepared(Net(), X, train=False)
    for train in (False, True):
        (before, after), _ = qmodel.apply_qtensor(
            variables, X, train=train, rngs={"dropout": jax.random.key(0)}, mutable=["quant"]
        )
        assert isinstance(after, QTensor)
        assert (float(after.scale), after.bits) == (float(before.scale), before.bits)
        kept = (np.asarray(after.value) != 0) | (np.asarray(before.value) == 0)
        factor = 2.0 if train else 1.0
        np.testing.assert_array_equal(np.asarray(after.value)[kept], factor * np.asarray(before.value)[kept])
        assert kept.all() != train


def test_chained_layers_hand_their_scale_on():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(3, name="b")(nn.relu(nn.Dense(4, name="a")(x)))

    qmodel, variables = prepared(Net(), X)
    _, after = trained(qmodel, variables, X)
    passed = after["quant"]["b"]["input_quantizer"]
    assert float(passed["scale"]) == float(after["quant"]["a"]["output_quantizer"]["scale"])
    assert (float(passed["running_data"]), bool(passed["is_init"])) == (0.0, False)


def test_shared_layer_moves_its_statistic_at_every_call():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            dense = nn.Dense(5, use_bias=False, name="dense")
            return dense(dense(x))

    config = {"clamp_info": {"clamp_activation_value": None}}
    qmodel, variables = prepared(Net(), X, config=config)
    _, after = trained(qmodel, variables, X)
    single, alone = prepared(nn.Dense(5, use_bias=False), X, config=config)
    alone = {"params": variables["params"]["dense"], "quant": variables["quant"]["dense"]}
    outputs = []
    value = X
    for _ in range(2):
        value, updates = single.apply_qtensor(alone, value, mutable=["quant"])
        alone = {**alone, **updates}
        outputs.append(value)
    jax.tree.map(np.testing.assert_array_equal, after["quant"]["dense"], alone["quant"])


def test_batch_norm_folds_and_quantizes_and_moves_its_running_statistics():
    model = nn.BatchNorm(use_running_average=False, momentum=0.9)
    qmodel, variables = prepared(model, X)
    variables["params"]["scale"] = random_array(3, 5)
    output, updates = qmodel.apply_qtensor(variables, X, mutable=["quant", "batch_stats"])
    scales = {name: float(entry["scale"]) for name, entry in updates["quant"].items()}
    x = quantized(X, scales["input_quantizer"]).astype(np.float64)
    mean, variance = x.mean(0), x.var(0)
    alpha = np.asarray(variables["params"]["scale"]) / np.sqrt(variance + 1e-5)
    np.testing.assert_allclose(updates["batch_stats"]["mean"], 0.1 * mean, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(updates["batch_stats"]["var"], 0.9 + 0.1 * variance, rtol=1e-6)
    assert scales["bias_quantizer"] == scales["weight_quantizer"] * scales["input_quantizer"]
    y = weight(alpha, scales["weight_quantizer"]) * x + weight(-mean * alpha, scales["bias_quantizer"], bits=32)
    np.testing.assert_allclose(output.value, quantized(y, scales["output_quantizer"]), atol=1.01 / float(output.scale))


def test_batch_norm_in_inference_uses_running_statistics_and_leaves_them():
    model = nn.BatchNorm(use_running_average=True)
    qmodel, variables = prepared(model, X)
    variables["batch_stats"] = {"mean": jnp.full(5, 0.5), "var": jnp.full(5, 4.0)}
    x = jnp.clip(X, -1.9, 1.9)  # within the range of the input quantizer
    output, updates = qmodel.apply(variables, x, mutable=["quant", "batch_stats"])
    jax.tree.map(np.testing.assert_array_equal, updates["batch_stats"], variables["batch_stats"])
    np.testing.assert_allclose(output, np.clip((x - 0.5) / 2, -1.0, 1.0), atol=0.02)
