"""What docs/decisions.md decides about running a model, under ``chip`` and under ``reference``."""

import warnings

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linger_jax
from linger_jax import LingerWarning
from linger_jax.errors import StateError
from tests.interpret.steps import REFERENCE, TQT, quantized, same_bits, trained
from tests.models import Mlp, ResidualCnn, Shared, initialised, prepared, random_array

IMAGE = random_array(0, 2, 6, 6, 3)
X = random_array(1, 4, 5)


class Pool(nn.Module):
    """A convolution and the mean of its output over the plane."""

    @nn.compact
    def __call__(self, x):
        return jnp.mean(nn.Conv(4, (1, 1), name="conv")(x), axis=(1, 2))


# --- the scale of an average pool (docs/decisions.md D5) --------------------------------------------------------------


def test_average_pool_answers_at_its_input_scale():
    qmodel, variables = prepared(Pool(), IMAGE)
    output, updates = qmodel.apply_qtensor(variables, IMAGE, mutable=["quant"])
    assert float(output.scale) == float(updates["quant"]["conv"]["output_quantizer"]["scale"])
    state = updates["quant"]["_linger_avg_pool_0"]["output_quantizer"]
    assert (float(state["scale"]), bool(state["is_init"])) == (float(output.scale), False)


def test_average_pool_answers_at_its_own_scale_under_the_reference():
    qmodel, variables = prepared(Pool(), IMAGE, config=REFERENCE)
    output, updates = qmodel.apply_qtensor(variables, IMAGE, mutable=["quant"])
    assert float(output.scale) > float(updates["quant"]["conv"]["output_quantizer"]["scale"])
    assert bool(updates["quant"]["_linger_avg_pool_0"]["output_quantizer"]["is_init"])


def test_average_is_the_rounded_mean_of_the_integers():
    qmodel, variables = prepared(Pool(), IMAGE, config={"platform": "jupiter"})
    _, variables = trained(qmodel, variables, IMAGE)
    output = qmodel.apply_qtensor(variables, IMAGE)
    scale = float(output.scale)
    conv = linger_jax.init(nn.Conv(4, (1, 1)), {"platform": "jupiter"})
    inner = {"params": variables["params"]["conv"], "quant": variables["quant"]["conv"]}
    steps = np.asarray(conv.apply(inner, IMAGE)) * scale
    np.testing.assert_array_equal(np.asarray(output.value) * scale, np.floor(steps.sum((1, 2)) / np.float32(36) + 0.5))


def test_gradient_of_an_average_pool_is_that_of_the_float_mean():
    x = jnp.clip(IMAGE, -1.9, 1.9)  # within the range of the input quantizer
    qmodel, variables = prepared(Pool(), x)
    wide = {**variables, "params": jax.tree.map(lambda p: p * 0.1, variables["params"])}
    slope = jax.grad(lambda x: jnp.sum(qmodel.apply(wide, x, mutable=["quant"])[0]))(x)
    kernel = np.asarray(wide["params"]["conv"]["kernel"])[0, 0]
    step = 2 * np.abs(kernel).max() / 127  # of the quantized kernel
    np.testing.assert_allclose(slope, np.broadcast_to(kernel.sum(1) / 36, IMAGE.shape), atol=4 * step / 36)


# --- evaluation of quantizers that never saw data (docs/decisions.md D6) ----------------------------------------------


def test_evaluating_fresh_quantizers_warns_once_and_names_them():
    qmodel, variables = prepared(Mlp(), X)
    with pytest.warns(LingerWarning, match="never saw data") as caught:
        first = qmodel.apply(variables, X)
    (warning,) = caught
    names = str(warning.message).split("): ")[1].split(". ")[0].split(", ")
    assert names == [
        "first.input_quantizer",
        "first.weight_quantizer",
        "first.output_quantizer",
        "second.weight_quantizer",
        "second.output_quantizer",
    ]
    same_bits(qmodel.apply(variables, X), first)


def test_evaluating_fresh_quantizers_uses_scale_one():
    qmodel, variables = prepared(nn.Dense(3), X)
    with pytest.warns(LingerWarning):
        output = qmodel.apply(variables, X)
    kernel = np.clip(np.rint(variables["params"]["kernel"]), -128, 127)
    np.testing.assert_array_equal(output, quantized(quantized(X, 1.0) @ kernel, 1.0))


def test_evaluating_after_training_or_calibration_is_silent():
    for config in (None, TQT):
        qmodel, variables = prepared(Mlp(), X, config=config)
        calibrated = linger_jax.calibrate(qmodel, variables, [X], progress=False)
        qmodel.apply(calibrated, X)
    qmodel, variables = prepared(Mlp(), X)
    qmodel.apply(trained(qmodel, variables, X)[1], X)


def test_evaluating_fresh_quantizers_is_silent_under_the_reference():
    qmodel, variables = prepared(Mlp(), X, config=REFERENCE)
    qmodel.apply(variables, X)


# --- calibration (docs/decisions.md D7) -------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [None, TQT], ids=["MOM", "TQT"])
def test_calibration_sets_statistic_flag_and_scale_and_computes_in_float(config):
    qmodel, variables = prepared(Mlp(), X, config=config)
    with linger_jax.calibration():
        output, updates = qmodel.apply(variables, X, mutable=["quant"])
    model = Mlp()
    np.testing.assert_allclose(output, model.apply({"params": updates["params"]}, X), rtol=1e-6)
    hidden = X @ variables["params"]["first"]["kernel"] + variables["params"]["first"]["bias"][None]
    tenth = np.sort(np.abs(np.asarray(hidden)).ravel())[-10]
    state = updates["quant"]["first"]["output_quantizer"]
    if config:
        threshold = updates["params"]["first"]["output_quantizer"]["learning_data"]
        np.testing.assert_allclose(threshold, [np.log2(tenth)], rtol=1e-5)
        assert bool(state["is_calibrate"])
    else:
        np.testing.assert_allclose(state["running_data"], tenth, rtol=1e-6)
        assert bool(state["is_init"])
    assert float(state["scale"]) == 2.0 ** np.rint(7 - np.log2(tenth))


def test_calibrating_a_shared_layer_joins_its_statistics():
    x = random_array(2, 8, 4)
    qmodel, variables = prepared(Shared(), x)
    calibrated = linger_jax.calibrate(qmodel, variables, [x], progress=False)
    dense = variables["params"]["dense"]
    once = x @ dense["kernel"] + dense["bias"][None]
    twice = once @ dense["kernel"] + dense["bias"][None]
    largest = max(np.sort(np.abs(np.asarray(y)).ravel())[-10] for y in (once, twice))
    state = calibrated["quant"]["dense"]["output_quantizer"]
    np.testing.assert_allclose(state["running_data"], largest, rtol=1e-6)


def test_calibrating_a_shared_layer_is_refused_under_the_reference():
    x = random_array(2, 8, 4)
    qmodel, variables = prepared(Shared(), x, config={**TQT, **REFERENCE})
    with pytest.raises(StateError, match=r"dense\.weight_quantizer.*reached twice in one pass"):
        linger_jax.calibrate(qmodel, variables, [x], progress=False)


# --- parameters are never written behind the user's back (docs/decisions.md D24) --------------------------------------


def large_weights(flag):
    """An Mlp with one weight far outside the clamp; ``flag`` says whether its quantizer thinks it was clamped."""
    qmodel, variables = prepared(Mlp(), X)
    kernel = variables["params"]["first"]["kernel"]
    variables["params"]["first"]["kernel"] = jnp.zeros_like(kernel).at[0, 0].set(10.0)
    variables["quant"]["first"]["weight_quantizer"]["is_init_mom_clamp_weight"] = jnp.asarray(flag)
    return qmodel, variables


CLAMPED = 10.0 * 7 / 40  # factor * mean|w| of 5 x 8 weights


def test_init_and_adopt_return_clamped_weights_with_the_flag_set():
    qmodel, variables = large_weights(True)
    adopted = qmodel.adopt({"params": variables["params"]}, X)
    assert float(adopted["params"]["first"]["kernel"][0, 0]) == CLAMPED
    assert bool(adopted["quant"]["first"]["weight_quantizer"]["is_init_mom_clamp_weight"])
    assert float(variables["params"]["first"]["kernel"][0, 0]) == 10.0


def test_adopt_leaves_weights_alone_under_tqt():
    _, variables = large_weights(True)
    tqt = linger_jax.init(Mlp(), TQT)
    adopted = tqt.adopt({"params": variables["params"]}, X)
    assert float(adopted["params"]["first"]["kernel"][0, 0]) == 10.0
    assert not bool(adopted["quant"]["first"]["weight_quantizer"]["is_init_mom_clamp_weight"])


def test_first_training_step_clamps_in_its_forward_pass_and_reports_the_parameter_when_asked():
    qmodel, variables = large_weights(False)
    output, updates = qmodel.apply(variables, X, mutable=["quant", "params"])
    assert float(updates["params"]["first"]["kernel"][0, 0]) == CLAMPED
    clamped = {**large_weights(True)[1], "params": updates["params"]}
    same_bits(qmodel.apply(clamped, X, mutable=["quant"])[0], output)
    without, only_state = qmodel.apply(variables, X, mutable=["quant"])
    same_bits(without, output)
    assert set(only_state) == {"quant"}
    assert bool(only_state["quant"]["first"]["weight_quantizer"]["is_init_mom_clamp_weight"])


def test_later_training_steps_do_not_clamp():
    qmodel, variables = large_weights(True)
    _, updates = qmodel.apply(variables, X, mutable=["quant", "params"])
    assert float(updates["params"]["first"]["kernel"][0, 0]) == 10.0


def test_gradient_of_the_clamping_step_is_taken_at_the_clamped_weight():
    qmodel, variables = large_weights(False)
    _, updates = qmodel.apply(variables, X, mutable=["quant", "params"])
    clamped = {**large_weights(True)[1], "params": updates["params"]}

    def slope(variables):
        def loss(params):
            return jnp.sum(qmodel.apply({**variables, "params": params}, X, mutable=["quant"])[0])

        return jax.grad(loss)(variables["params"])

    same_bits(slope(variables), slope(clamped))


def test_shared_layer_is_clamped_once_for_all_its_calls():
    x = random_array(2, 8, 4)
    qmodel, variables = prepared(Shared(), x)
    kernel = jnp.zeros((4, 4)).at[0, 0].set(8.0)
    variables["params"]["dense"]["kernel"] = kernel
    variables["quant"]["dense"]["weight_quantizer"]["is_init_mom_clamp_weight"] = jnp.asarray(False)
    output, updates = qmodel.apply(variables, x, mutable=["quant", "params"])
    assert float(updates["params"]["dense"]["kernel"][0, 0]) == 8.0 * 7 / 16
    variables["quant"]["dense"]["weight_quantizer"]["is_init_mom_clamp_weight"] = jnp.asarray(True)
    wanted, _ = qmodel.apply({**variables, "params": updates["params"]}, x, mutable=["quant"])
    same_bits(output, wanted)


@pytest.mark.parametrize("config", [None, TQT], ids=["MOM", "TQT"])
def test_calibration_returns_clamped_weights_and_clamps_once_over_all_batches(config):
    kernel = jnp.zeros((5, 8)).at[0, 0].set(10.0)
    qmodel, variables = prepared(Mlp(), X, config=config)
    variables["params"]["first"]["kernel"] = kernel
    variables["quant"]["first"]["weight_quantizer"]["is_init_mom_clamp_weight"] = jnp.asarray(False)
    calibrated = linger_jax.calibrate(qmodel, variables, [X, X, X], progress=False)
    assert float(calibrated["params"]["first"]["kernel"][0, 0]) == CLAMPED
    np.testing.assert_array_equal(variables["params"]["first"]["kernel"], kernel)


def test_batch_norm_s_alpha_is_clamped_in_the_first_step_only():
    model = nn.BatchNorm(use_running_average=False)
    qmodel, variables = prepared(model, X)
    variables["params"]["scale"] = jnp.asarray([1.0, 0.0, 0.0, 0.0, 0.0])
    qmodel = linger_jax.init(model, {"clamp_info": {"clamp_factor_value": 2}})
    _, first = trained(qmodel, variables, X)
    _, second = trained(qmodel, first, X)
    scale = 2.0 ** np.rint(7 - np.log2(np.abs(X).max()))
    alpha = 1 / np.std(np.floor(np.asarray(X)[:, 0] * scale + 0.5) / scale)
    (one, two) = (float(v["quant"]["weight_quantizer"]["running_data"]) for v in (first, second))
    assert one == pytest.approx(0.4 * alpha, rel=1e-4)
    assert two == pytest.approx(0.9 * one + 0.1 * alpha, rel=1e-4)
    same_bits(second["params"], variables["params"])


# --- values pass the quantizers as they are (docs/decisions.md D12) ---------------------------------------------------


class Everything(nn.Module):
    """Layers and functions with an integer form of their own."""

    @nn.compact
    def __call__(self, x):
        x = nn.LayerNorm(epsilon=1e-5)(nn.Conv(8, (3, 3), name="conv")(x))
        x = nn.avg_pool(x, (2, 2), (2, 2)) + nn.gelu(nn.max_pool(x, (2, 2), (2, 2)), approximate=False)
        x = nn.glu(x).mean((1, 2))
        return nn.softmax(nn.sigmoid(x) + nn.tanh(nn.Dense(4)(x)) * nn.silu(x))


def test_d12_onnx_computes_the_float_model_in_training_and_evaluation():
    model = Everything()
    with jax.numpy_dtype_promotion("standard"):  # nn.avg_pool divides a float by an integer
        qmodel, variables = prepared(model, IMAGE, config={"quant_method": "ONNX"})
        assert {row.status for row in qmodel.plan(variables, IMAGE).rows()} <= {"quantized", "passes"}
        wanted = model.apply({"params": variables["params"]}, IMAGE)
        y, variables = trained(qmodel, variables, IMAGE)
        np.testing.assert_allclose(y, wanted, atol=1e-5)
        np.testing.assert_allclose(qmodel.apply(variables, IMAGE), wanted, atol=1e-5)


# --- constrain mode ---


def test_constrained_model_has_the_float_model_s_variables_and_clips():
    model = ResidualCnn(blocks=1)
    x = 100 * random_array(3, 2, 8, 8, 4)
    qmodel = linger_jax.constrain(model, {"clamp_info": {"clamp_activation_value": 2}})
    variables = initialised(qmodel, x)
    same_bits(variables, model.init(jax.random.key(0), x))
    assert np.abs(qmodel.apply(variables, x)).max() == 2.0
    assert np.abs(model.apply(variables, x)).max() > 2.0
    with pytest.raises(linger_jax.LingerError, match="no quantizers to calibrate"), linger_jax.calibration():
        qmodel.apply(variables, x)


def test_constrained_batch_norm_moves_its_statistics():
    model = nn.BatchNorm(use_running_average=False, momentum=0.9)
    qmodel = linger_jax.constrain(model)
    variables = initialised(qmodel, X)
    _, updates = qmodel.apply(variables, X, mutable=["batch_stats"])
    np.testing.assert_allclose(updates["batch_stats"]["mean"], 0.1 * np.mean(X, 0), rtol=1e-5, atol=1e-7)


def test_no_warning_escapes_a_whole_cycle():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = ResidualCnn(blocks=1, dropout=0.5)
        x = random_array(4, 2, 8, 8, 4)
        qmodel = linger_jax.init(model)
        variables = initialised(qmodel, x, train=False)
        variables = linger_jax.calibrate(qmodel, variables, [x], progress=False)
        _, variables = trained(qmodel, variables, x, train=True, rngs={"dropout": jax.random.key(1)})
        assert np.all(np.isfinite(qmodel.apply(variables, x)))
