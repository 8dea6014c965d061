"""Calibration leaves scales that fit the data (docs/specification/config.md section 4, docs/decisions.md D7)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linger_jax
from linger_jax import LingerError
from linger_jax.errors import StateError
from tests.interpret.steps import REFERENCE, TQT
from tests.models import Calls, Mlp, Shared, initialised, normal, prepared, random_array

OFF = {"clamp_activation_value": None, "clamp_factor_value": None}
NEAREST = {"quant_info": {"a_calibrate_name": "abs_max", "calibrate_exponent": "nearest"}, "clamp_info": OFF}
TENTH = {"a_calibrate_name": "top_10", "calibrate_exponent": "nearest"}


def calibrated(model, config, *batches):
    qmodel = linger_jax.init(model, config)
    variables = initialised(qmodel, batches[0])
    return qmodel, linger_jax.calibrate(qmodel, variables, batches, progress=False)


# --- calibration (docs/specification/config.md section 4) -------------------------------------------------------------


def test_calibration_works_under_mom_and_leaves_usable_scales():
    x = normal(64, 6)
    qmodel, variables = calibrated(nn.Dense(4), NEAREST, x)
    entries = variables["quant"]["input_quantizer"]
    assert entries["is_init"]
    assert entries["running_data"] == jnp.abs(x).max()
    assert entries["scale"] == 2.0 ** np.rint(7 - np.log2(np.abs(x).max()))
    gap = jnp.abs(qmodel.apply(variables, x) - nn.Dense(4).apply({"params": variables["params"]}, x)).max()
    assert gap < 0.15


@pytest.mark.parametrize("method", ["MOM", "TQT"])
def test_calibration_writes_the_bias_scale_as_the_product_of_input_and_weight_scales(method):
    _, variables = calibrated(nn.Dense(4), {"quant_info": {"qat_method": method}}, normal(8, 6))
    scales = {name: entries["scale"] for name, entries in variables["quant"].items()}
    assert scales["bias_quantizer"] == scales["input_quantizer"] * scales["weight_quantizer"]


def test_an_unknown_calibration_method_names_the_known_ones():
    with pytest.raises(LingerError, match=r"(?s)median.*abs_max.*top_10.*w_like"):
        calibrated(nn.Dense(4), {"quant_info": {"a_calibrate_name": "median"}}, normal(8, 6))


def test_calibrating_twice_is_refused_and_changes_nothing():
    x = normal(8, 6)
    qmodel, variables = calibrated(nn.Dense(4), None, x)
    before = jax.tree.map(np.asarray, variables)
    with pytest.raises(LingerError, match=r"has been calibrated.*input_quantizer"):
        linger_jax.calibrate(qmodel, variables, [x], progress=False)
    jax.tree.map(np.testing.assert_array_equal, before, variables)


@pytest.mark.usefixtures("flax_promotion")
def test_average_pooling_calibrates_on_the_plain_average():
    x = 40.0 * normal(2, 8, 8, 3)

    def model(x):
        return nn.Dense(2)(nn.avg_pool(x, (2, 2), (2, 2)))

    _, variables = calibrated(Calls(model), NEAREST, x)
    output = variables["quant"]["Dense_0"]["output_quantizer"]["running_data"]
    unclipped = nn.Dense(2).apply({"params": variables["params"]["Dense_0"]}, nn.avg_pool(x, (2, 2), (2, 2)))
    assert output == jnp.abs(unclipped).max()


def test_an_addition_calibrates_on_the_plain_sum():
    def model(x):
        return nn.Dense(4, name="a")(x) + nn.Dense(4, name="b")(x)

    x = normal(32, 5)
    _, variables = calibrated(Calls(model), NEAREST, x)
    parts = [nn.Dense(4).apply({"params": variables["params"][name]}, x) for name in ("a", "b")]
    entries = variables["quant"]["_linger_qtensor_qadd_0"]["output_quantizer"]
    assert entries["running_data"] == jnp.abs(parts[0] + parts[1]).max()


X = random_array(1, 4, 5)

# --- calibration (docs/decisions.md D7) -------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [None, TQT], ids=["MOM", "TQT"])
def test_calibration_sets_statistic_flag_and_scale_and_computes_in_float(config):
    info = {**(config or {}).get("quant_info", {}), **TENTH}
    qmodel, variables = prepared(Mlp(), X, config={"quant_info": info})
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
    qmodel, variables = prepared(Shared(), x, config={"quant_info": TENTH})
    calibrated = linger_jax.calibrate(qmodel, variables, [x], progress=False)
    dense = variables["params"]["dense"]
    once = x @ dense["kernel"] + dense["bias"][None]
    twice = once @ dense["kernel"] + dense["bias"][None]
    tenth = np.sort(np.abs(np.concatenate([once, twice])).ravel())[-10]
    state = calibrated["quant"]["dense"]["output_quantizer"]
    np.testing.assert_allclose(state["running_data"], tenth, rtol=1e-6)


def test_calibrating_a_shared_layer_is_refused_under_the_reference():
    x = random_array(2, 8, 4)
    qmodel, variables = prepared(Shared(), x, config={**TQT, **REFERENCE})
    with pytest.raises(StateError, match=r"dense\.weight_quantizer.*reached twice in one pass"):
        linger_jax.calibrate(qmodel, variables, [x], progress=False)
