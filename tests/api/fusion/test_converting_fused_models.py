"""A fused model is quantized and constrained with the folded numbers; other uses of a pair are refused."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linger_jax
import linger_jax.nn
from linger_jax import LingerError
from linger_jax.plan import PlanError
from tests.api.fusion.fused_blocks import IMAGE, KEY, OPEN, ConvNormRelu, norm, settled
from tests.models import Calls, initialised, random_array

# --- converting it ---------------------------------------------------------------------------------------------------


def test_init_folds_the_numbers_of_both_layers_into_a_convolution_with_a_bias():
    """In the reference, converting leaves fresh weights until a checkpoint is loaded.

    Source: docs/specification/config.md section 2.
    """
    model = ConvNormRelu(bias=False)
    variables = settled(model, IMAGE)
    fused, traced, _ = linger_jax.trace_layers(model, variables, IMAGE)
    qmodel = linger_jax.init(fused, {"clamp_info": OPEN})
    folded = qmodel.adopt(traced, IMAGE)
    p, s = variables["params"], variables["batch_stats"]["norm"]
    alpha = np.asarray(p["norm"]["scale"]) * (np.float32(1) / np.sqrt(np.asarray(s["var"]) + np.float32(1e-3)))
    np.testing.assert_array_equal(folded["params"]["conv"]["kernel"], np.asarray(p["conv"]["kernel"]) * alpha)
    np.testing.assert_array_equal(
        folded["params"]["conv"]["bias"], np.asarray(p["norm"]["bias"]) - np.asarray(s["mean"]) * alpha
    )
    assert set(folded["quant"]) == {"conv"}
    again = qmodel.adopt(folded, IMAGE)
    jax.tree.map(np.testing.assert_array_equal, again["params"], folded["params"])
    fresh = initialised(qmodel, IMAGE)
    assert jax.tree.structure(fresh) == jax.tree.structure(folded)


def test_the_reference_folds_with_its_own_epsilon_and_along_input_channels():
    model = ConvNormRelu(features=3, transposed=True, bias=False)
    variables = settled(model, IMAGE)
    fused, traced, _ = linger_jax.trace_layers(model, variables, IMAGE)
    folded = linger_jax.init(fused, {"compat": "reference", "clamp_info": OPEN}).adopt(traced, IMAGE)
    p, s = variables["params"], variables["batch_stats"]["norm"]
    alpha = np.asarray(p["norm"]["scale"]) * (np.float32(1) / np.sqrt(np.asarray(s["var"]) + np.float32(1e-5)))
    np.testing.assert_array_equal(folded["params"]["conv"]["kernel"], np.asarray(p["conv"]["kernel"]) * alpha[:, None])


def test_a_relu_mark_makes_the_output_statistic_one_sided():
    x = random_array(3, 16, 5)

    def model(x):
        return nn.relu(nn.Dense(4, name="layer")(x))

    variables = jax.tree.map(jnp.negative, Calls(model).init(KEY, x))
    fused, variables, _ = linger_jax.trace_layers(Calls(model), variables, x)
    outputs = nn.Dense(4).apply({"params": variables["params"]["layer"]}, x)
    assert -outputs.min() > outputs.max()
    exact = {"quant_info": {"weight_bits": 24, "activate_bits": 24}, "clamp_info": OPEN}
    qmodel = linger_jax.init(fused, exact)
    _, updates = qmodel.apply(qmodel.adopt(variables, x), x, mutable=["quant"])
    quantizers = updates["quant"]["layer"]
    np.testing.assert_allclose(quantizers["output_quantizer"]["running_data"], outputs.max(), rtol=1e-5)
    np.testing.assert_allclose(quantizers["input_quantizer"]["running_data"], jnp.abs(x).max(), rtol=1e-5)


def test_a_constrained_pair_clips_folded_weights_and_keeps_running_statistics():
    """In the reference, constraining drops running statistics, those inside ConvBN too.

    Source: docs/specification/config.md section 5.
    """
    model = ConvNormRelu()
    fused, variables, _ = linger_jax.trace_layers(model, settled(model, IMAGE), IMAGE)
    clamps = {"clamp_weight_value": 0.05, "clamp_bias_value": 0.1, "clamp_activation_value": 0.3}
    cmodel = linger_jax.constrain(fused, {"clamp_info": clamps})
    adopted = cmodel.adopt(variables, IMAGE)
    jax.tree.map(np.testing.assert_array_equal, adopted, variables)
    p, s = variables["params"], variables["batch_stats"]["norm"]
    p, s = jax.tree.map(np.asarray, (p, s))
    factor = p["norm"]["scale"] / np.sqrt(s["var"] + np.float32(1e-3))
    kernel = np.clip(p["conv"]["kernel"] * factor, -0.05, 0.05)
    bias = np.clip((p["conv"]["bias"] - s["mean"]) * factor + p["norm"]["bias"], -0.1, 0.1)
    want = nn.Conv(4, (3, 3)).apply({"params": {"kernel": kernel, "bias": bias}}, IMAGE)
    np.testing.assert_allclose(cmodel.apply(adopted, IMAGE), jnp.clip(want, 0, 0.3), rtol=1e-5, atol=1e-6)


def test_a_disabled_pair_stays_one_float_layer_with_its_own_variables():
    model = ConvNormRelu()
    fused, variables, _ = linger_jax.trace_layers(model, settled(model, IMAGE), IMAGE)
    plan = linger_jax.constrain(fused, disable_submodel="conv").plan(variables, IMAGE)
    assert [(row.op, row.status) for row in plan.rows()] == [("Conv+BatchNorm", "disabled")]

    class Outer(nn.Module):
        @nn.compact
        def __call__(self, x, *, train=False):
            return nn.Dense(3, name="head")(ConvNormRelu(name="block")(x, train=train).mean((1, 2)))

    fused, variables, _ = linger_jax.trace_layers(Outer(), settled(Outer(), IMAGE), IMAGE)
    for options in ({"disable_submodel": "block*"}, {"disable_module": ConvNormRelu}, {"disable_module": nn.Conv}):
        qmodel = linger_jax.init(fused, **options)
        adopted = qmodel.adopt(variables, IMAGE)
        assert set(adopted["params"]["block"]) == {"conv", "norm"}
        assert [row.status for row in qmodel.plan(adopted, IMAGE).rows()] == ["disabled", "quantized"]
        _, updates = qmodel.apply(adopted, IMAGE, train=True, mutable=["quant", "batch_stats"])
        assert (
            updates["batch_stats"]["block"]["norm"]["mean"] != adopted["batch_stats"]["block"]["norm"]["mean"]
        ).all()


# --- errors ----------------------------------------------------------------------------------------------------------


class TwoWays(nn.Module):
    """The convolution's result is read by the normalization only, or by a sum too."""

    @nn.compact
    def __call__(self, x, *, shortcut=False):
        y = nn.Conv(3, (3, 3), name="conv")(x)
        return norm("norm")(y) + (y if shortcut else 0.0)


def test_a_call_that_uses_a_pair_in_another_way_is_refused():
    variables = TwoWays().init(KEY, IMAGE)
    fused, variables, _ = linger_jax.trace_layers(TwoWays(), variables, IMAGE)
    qmodel = linger_jax.init(fused)
    adopted = qmodel.adopt(variables, IMAGE)
    for run, values in ((fused.apply, variables), (qmodel.apply, adopted)):
        with pytest.raises(PlanError, match=r"'conv' and 'norm' are fused, but in this call.*trace_layers"):
            run(values, IMAGE, shortcut=True)


def test_variables_of_one_of_the_two_layers_only_are_refused():
    fused, variables, _ = linger_jax.trace_layers(
        ConvNormRelu(bias=False), settled(ConvNormRelu(bias=False), IMAGE), IMAGE
    )
    qmodel = linger_jax.init(fused)
    with pytest.raises(LingerError, match="no running statistics of the normalization"):
        qmodel.adopt({"params": variables["params"]}, IMAGE)
    lacking = {**variables, "params": {"norm": variables["params"]["norm"]}}
    with pytest.raises(LingerError, match="no kernel of the convolution"):
        qmodel.adopt(lacking, IMAGE)


def test_what_is_no_unbound_module_is_refused():
    with pytest.raises(LingerError, match=r"expected a flax\.linen Module instance, got int"):
        linger_jax.trace_layers(3, {}, IMAGE)
    bound = ConvNormRelu().bind(ConvNormRelu().init(KEY, IMAGE))
    with pytest.raises(LingerError, match="bound to variables"):
        linger_jax.trace_layers(bound, {}, IMAGE)
