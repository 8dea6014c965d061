"""What clamps cut is told, and clamps are off where no section names them (docs/decisions.md D26)."""

from __future__ import annotations

import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import linger_jax
from tests.models import Mlp, normal, random_array

CLAMPS = {"clamp_info": {"clamp_activation_value": 2.0, "clamp_factor_value": 2.0, "clamp_bias_value": 0.5}}
X = normal(16, 6)


def weights(seed=1):
    kernels = [np.asarray(random_array(seed + i, *shape)) for i, shape in enumerate([(6, 8), (8, 3)])]
    biases = [np.linspace(-1, 1, 8, dtype=np.float32), np.zeros(3, np.float32)]
    layers = [{"kernel": jnp.asarray(k), "bias": jnp.asarray(b)} for k, b in zip(kernels, biases, strict=True)]
    return {"params": dict(zip(("first", "second"), layers, strict=True))}


def told(make):
    """What it gives, and its warnings."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        result = make()
    return result, [str(s.message) for s in said if "clamp" in str(s.message)]


def calibrated(config, batches=(X,)):
    qmodel = linger_jax.init(Mlp(), config)
    adopted, at_adoption = told(lambda: qmodel.adopt(weights(), X))
    variables, at_calibration = told(lambda: linger_jax.calibrate(qmodel, adopted, list(batches), progress=False))
    return qmodel, variables, at_adoption, at_calibration


def first_output():
    layer = weights()["params"]["first"]
    return np.asarray(X) @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])


def test_calibration_names_layers_shares_largest_values_and_keys():
    config = {"clamp_info": {**CLAMPS["clamp_info"], "clamp_factor_value": None, "clamp_bias_value": None}}
    _, _, at_adoption, (text,) = calibrated(config)
    assert not at_adoption
    sizes = np.abs(first_output())
    share, largest = (sizes > 2).mean(), sizes.max()
    assert f"first: outputs {share:.2%} (largest {largest:.3g}, clamp_activation_value)" in text
    assert "second: outputs" in text


@pytest.mark.parametrize("batches", [(X,), (X[:4], X[4:])])
def test_the_share_is_that_of_all_batches(batches):
    _, _, _, (text,) = calibrated({"clamp_info": {"clamp_activation_value": 2.0, "clamp_factor_value": None}}, batches)
    assert f"first: outputs {(np.abs(first_output()) > 2).mean():.2%}" in text


def test_adoption_names_the_weights_that_it_clamps_and_calibration_the_biases():
    _, variables, (at_adoption,), (at_calibration,) = calibrated(CLAMPS)
    kernel = np.abs(np.asarray(weights()["params"]["first"]["kernel"]))
    share = (kernel > 2 * kernel.mean()).mean()
    assert f"first: weights {share:.2%} (largest {kernel.max():.3g}, clamp_factor_value)" in at_adoption
    assert "first: biases 50.00% (largest 1, clamp_bias_value)" in at_calibration
    assert "weights" not in at_calibration
    assert np.abs(variables["params"]["first"]["bias"]).max() == 0.5


def test_under_tqt_calibration_clamps_weights_and_says_so():
    _, _, at_adoption, (text,) = calibrated({**CLAMPS, "quant_info": {"qat_method": "TQT"}})
    assert not at_adoption
    assert "first: weights" in text


def test_the_plan_shows_it_afterwards():
    qmodel, variables, _, _ = calibrated(CLAMPS)
    remarks = {row.name: row.reason for row in qmodel.plan(variables, X).rows()}
    for what in ("outputs", "weights", "biases"):
        assert re.search(rf"clamped: {what} \d+\.\d\d%", remarks["first"])
    _, trained = qmodel.apply(variables, X, mutable=["quant"])
    again = {row.name: row.reason for row in qmodel.plan({**variables, **trained}, X).rows()}
    assert again["first"] == remarks["first"]


def test_what_cuts_less_than_a_thousandth_is_not_told():
    qmodel, variables, at_adoption, at_calibration = calibrated({"clamp_info": {"clamp_activation_value": 100.0}})
    assert not at_adoption + at_calibration
    assert not [row for row in qmodel.plan(variables, X).rows() if "clamp" in row.reason]


def test_variables_have_the_same_structure_whatever_was_cut():
    _, variables, _, _ = calibrated(CLAMPS)
    fresh, _ = told(lambda: linger_jax.init(Mlp(), CLAMPS).init(jax.random.key(0), X))
    assert jax.tree.structure(fresh) == jax.tree.structure(variables)
    shapes = jax.eval_shape(lambda floats: linger_jax.init(Mlp(), CLAMPS).adopt(floats, X), weights())
    assert jax.tree.structure(shapes) == jax.tree.structure(variables)


def test_variables_without_the_notes_are_as_good():
    qmodel, variables, _, _ = calibrated(CLAMPS)
    bare = {**variables, "quant": jax.tree.map(lambda a: a, variables["quant"])}
    for layer in bare["quant"].values():
        for entries in layer.values():
            entries.pop("clamped", None)
    np.testing.assert_array_equal(qmodel.apply(bare, X), qmodel.apply(variables, X))


@pytest.mark.parametrize("config", [None, {"quant_info": {"weight_bits": 4}}, {"clamp_info": None}])
def test_without_a_section_nothing_is_clamped_and_it_is_said(config):
    wide = weights()
    wide["params"]["first"]["kernel"] = 20 * wide["params"]["first"]["kernel"]
    wide["params"]["second"]["kernel"] = wide["params"]["second"]["kernel"].at[0, 0].set(60.0)
    qmodel = linger_jax.init(Mlp(), config)
    adopted, at_adoption = told(lambda: qmodel.adopt(wide, X))
    variables, (text,) = told(lambda: linger_jax.calibrate(qmodel, adopted, [X], progress=False))
    assert not at_adoption
    jax.tree.map(np.testing.assert_array_equal, variables["params"], wide["params"])
    assert "no clamp_info is named" in text
    assert "first: outputs" in text
    assert re.search(r"second: outputs [^;]*, weights 4.17% \(largest 60, clamp_factor_value\)", text)
    assert "clamps: off" in str(qmodel.plan(variables, X))
    _, trained = qmodel.apply(variables, X, mutable=["quant"])
    assert float(trained["quant"]["first"]["output_quantizer"]["running_data"]) > 8


def test_nothing_is_said_where_lingers_clamps_would_cut_nothing():
    _, _, at_adoption, at_calibration = calibrated(None)
    assert not at_adoption + at_calibration


def test_a_section_keeps_lingers_limits_for_what_it_does_not_name():
    qmodel = linger_jax.init(Mlp(), {"clamp_info": {}})
    assert qmodel.settings.config.clamp_info == linger_jax.ClampInfo()
    assert "clamps: off" not in str(qmodel.plan(weights(), X, verdict=False))


def test_constraining_takes_lingers_limits_where_none_are_named():
    assert linger_jax.constrain(Mlp()).settings.config.clamp_info == linger_jax.ClampInfo()
    named = linger_jax.constrain(Mlp(), {"clamp_info": {"clamp_activation_value": 3.0}})
    assert named.settings.config.clamp_info.clamp_activation_value == 3


def test_reference_has_lingers_limits_and_is_silent():
    config = {"compat": "reference", "quant_info": {"qat_method": "TQT"}}
    qmodel = linger_jax.init(nn.Dense(4), config)
    assert qmodel.settings.config.clamp_info == linger_jax.ClampInfo()
    wide = {"params": {"kernel": 20 * random_array(3, 6, 4), "bias": jnp.zeros(4)}}
    variables, said = told(lambda: linger_jax.calibrate(qmodel, qmodel.adopt(wide, X), [X], progress=False))
    assert not said
    assert "clamped" not in variables["quant"]["output_quantizer"]
