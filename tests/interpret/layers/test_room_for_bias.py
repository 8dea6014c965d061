"""The scale of a weight leaves room for the bias beside it (docs/decisions.md D27)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linger_jax
from linger_jax import OnnxRunner
from tests.models import initialised, random_array

X = random_array(0, 16, 6) / 4
OFF = {"clamp_weight_value": None, "clamp_factor_value": None, "clamp_activation_value": None, "clamp_bias_value": None}


class OneDense(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(4)(x)


class OneNorm(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.LayerNorm(epsilon=1e-5)(x)


class OneBatchNorm(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.BatchNorm(use_running_average=True)(x)


class Recurrent(nn.Module):
    cell: type

    @nn.compact
    def __call__(self, x):
        return nn.RNN(self.cell(3))(x)


def with_bias(variables, bias, others):
    """Variables whose biases are one number and whose other parameters are small."""

    def leaf(path, value):
        return np.full_like(value, bias) if "bias" in str(path[-1]) else np.asarray(value) * np.float32(others)

    return {**variables, "params": jax.tree_util.tree_map_with_path(leaf, variables["params"])}


def scale_of(variables, quantizer):
    return float(variables["quant"]["Dense_0"][f"{quantizer}_quantizer"]["scale"])


@pytest.mark.parametrize("bias_bits", [8, 16, 32])
@pytest.mark.parametrize("method", ["MOM", "TQT"])
def test_training_and_calibration_lower_the_weight_until_the_bias_fits(method, bias_bits):
    quant_info = {"qat_method": method, "bias_bits": bias_bits}
    qmodel = linger_jax.init(OneDense(), {"platform": "arcs", "clamp_info": OFF, "quant_info": quant_info})
    bias = 3.0 if bias_bits > 8 else 0.5
    given = with_bias(initialised(qmodel, X), bias, 1e-4)
    calibrated = linger_jax.calibrate(qmodel, given, [X], progress=False)
    _, updates = qmodel.apply(calibrated, X, mutable=["quant"])
    trained = {**calibrated, **updates}
    for variables in (calibrated, trained):
        weight = scale_of(variables, "weight")
        steps = bias * scale_of(variables, "input") * weight
        assert steps < 2 ** (bias_bits - 2) or weight == 1
        assert 2 * steps >= 2 ** (bias_bits - 2) or weight == 2.0**23


@pytest.mark.parametrize("bias", [3.0, -200.0])
@pytest.mark.parametrize(
    ("model", "x"),
    [
        (OneDense(), X),
        (OneNorm(), X),
        (OneBatchNorm(), X),
        (Recurrent(nn.OptimizedLSTMCell), random_array(1, 2, 3, 4)),
        (Recurrent(nn.GRUCell), random_array(1, 2, 3, 4)),
    ],
    ids=["dense", "layer_norm", "batch_norm", "lstm", "gru"],
)
def test_evaluation_integers_and_file_agree_on_a_bias_far_above_its_weights(model, x, bias, tmp_path):
    qmodel = linger_jax.init(model, {"platform": "arcs", "clamp_info": OFF})
    variables = with_bias(initialised(qmodel, x), bias, 1e-7)
    variables = linger_jax.calibrate(qmodel, variables, [x], progress=False)
    y = np.asarray(qmodel.apply(variables, x))
    np.testing.assert_array_equal(y, qmodel.apply(variables, x, mode="integer"))
    path = linger_jax.export_onnx(qmodel, variables, x[:1], tmp_path / "m.onnx", dialect="linger")
    one = OnnxRunner(path).run(x[:1])[0]
    np.testing.assert_array_equal(one, qmodel.apply(variables, x[:1]))


def test_stored_scales_that_leave_no_room_are_lowered_when_they_are_used():
    """A checkpoint of linger, which adds a bias beyond int32 in float32."""
    qmodel = linger_jax.init(OneDense(), {"platform": "arcs", "clamp_info": OFF})
    variables = with_bias(initialised(qmodel, X), 200.0, 1e-4)
    variables = linger_jax.calibrate(qmodel, variables, [X], progress=False)
    entries = variables["quant"]["Dense_0"]
    entries["weight_quantizer"]["scale"] = jnp.float32(2.0**23)
    entries["output_quantizer"]["scale"] = jnp.float32(0.5)
    y = qmodel.apply_qtensor(variables, X)
    assert np.unique(y.value).tolist() == [127.0]  # the output saturates, the bias does not wrap


def test_the_plan_tells_coarser_weights_and_biases_that_are_cut():
    qmodel = linger_jax.init(OneDense(), {"platform": "arcs", "clamp_info": OFF})
    for bias, remark in (
        (3.0, "weight_quantizer 1.04858e+06 instead of 8.38861e+06: its bias needs the room"),
        (0, ""),
    ):
        variables = linger_jax.calibrate(qmodel, with_bias(initialised(qmodel, X), bias, 1e-7), [X], progress=False)
        assert [row.reason for row in qmodel.plan(variables, X).rows()] == [remark]
    given = with_bias(initialised(qmodel, X), 1e9, 1e-4)
    with pytest.warns(linger_jax.LingerWarning, match=r"Dense_0\.bias_quantizer: 1e\+09, at most .*more bias_bits"):
        variables = linger_jax.calibrate(qmodel, given, [X], progress=False)
    assert "bias of 1e+09 is cut to" in str(qmodel.plan(variables, X).rows()[0].reason)


def test_a_bias_that_fits_leaves_the_scale_alone():
    qmodel = linger_jax.init(OneDense(), {"platform": "arcs", "clamp_info": OFF})
    plain = initialised(qmodel, X)
    large = with_bias(plain, 3.0, 1.0)
    calibrated = [linger_jax.calibrate(qmodel, v, [X], progress=False) for v in (plain, large)]
    assert scale_of(calibrated[0], "weight") == scale_of(calibrated[1], "weight")
