"""ConvTranspose with PyTorch's arguments: the same numbers, clear errors, float and quantized."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import linger_jax
from linger_jax import LingerError
from linger_jax.nn import ConvTranspose
from tests.golden.models.torch_layout import to_kernel
from tests.interpret.steps import REFERENCE, quantized, same_bits, scale_for
from tests.models import drawn, prepared, random_array

GEOMETRIES = {
    "plain": {},
    "stride and padding": {"stride": 2, "padding": 1},
    "output padding": {"stride": 2, "padding": 1, "output_padding": 1},
    "dilation": {"dilation": 2, "padding": 3},
    "groups": {"groups": 2, "stride": 2},
    "everything": {"groups": 2, "stride": 3, "dilation": 2, "padding": 4, "output_padding": 2, "bias": False},
}
NAMES = {"stride": "strides", "dilation": "kernel_dilation", "groups": "feature_group_count", "bias": "use_bias"}


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_it_computes_what_pytorch_computes(name, axes):
    options = GEOMETRIES[name]
    there = (torch.nn.ConvTranspose1d, torch.nn.ConvTranspose2d)[axes - 1](4, 6, 3, **options)
    layer = ConvTranspose(6, (3,) * axes, **{NAMES.get(k, k): v for k, v in options.items()})
    x = np.array(random_array(0, 2, 4, *(5, 6)[:axes]))
    weights = {k: v.detach().numpy() for k, v in there.named_parameters()}
    params = {"kernel": to_kernel("ConvTranspose", weights["weight"], options.get("groups", 1))}
    params |= {"bias": weights["bias"]} if "bias" in weights else {}
    got = layer.apply({"params": jax.tree.map(jnp.asarray, params)}, jnp.asarray(np.moveaxis(x, 1, -1)))
    wanted = there(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(np.moveaxis(np.asarray(got), -1, 1), wanted, rtol=1e-4, atol=1e-5)


def test_a_value_without_and_with_further_batch_axes():
    x = random_array(1, 2, 3, 5, 4)
    layer = ConvTranspose(6, 3, strides=2)
    variables = drawn(layer, x)
    y = layer.apply(variables, x)
    assert y.shape == (2, 3, 11, 6)
    np.testing.assert_allclose(layer.apply(variables, x[1, 2]), y[1, 2], rtol=1e-5, atol=1e-6)


WRONG = {
    "output_padding 2 must be smaller than the stride 2": {"strides": 2, "output_padding": 2},
    "does not divide 4 input and 6 output channels": {"feature_group_count": 3},
    "use flax.linen.ConvTranspose": {"padding": "SAME"},
    "neither a number nor one number for each of 2 axes": {"strides": (1, 2, 3)},
}


@pytest.mark.parametrize("text", WRONG)
def test_arguments_that_do_not_fit_are_refused_with_what_is_allowed(text):
    with pytest.raises(LingerError, match=text):
        ConvTranspose(6, (3, 3), **WRONG[text]).init(jax.random.key(0), random_array(1, 2, 5, 5, 4))


def test_a_given_output_size_is_an_error_that_names_the_remedy():
    """docs/specification/layers.md section 3: the reference accepts and ignores it."""
    with pytest.raises(LingerError, match=r"output_size=\(11, 11\) is not supported.*output_padding"):
        ConvTranspose(6, (3, 3)).init(jax.random.key(0), random_array(1, 2, 5, 5, 4), output_size=(11, 11))


@pytest.mark.parametrize("config", [None, REFERENCE])
def test_quantized_it_keeps_groups_dilation_and_output_padding(config):
    layer = ConvTranspose(6, (3,), 2, padding=1, output_padding=1, kernel_dilation=2, feature_group_count=2)
    x = random_array(2, 2, 5, 4)
    qmodel, variables = prepared(layer, x, config=config)
    assert [r.status for r in qmodel.plan(variables, x).rows()] == ["quantized"]
    y, updates = qmodel.apply_qtensor(variables, x, mutable=["quant"])
    kernel = np.asarray(variables["params"]["kernel"])
    scale = scale_for(np.abs(kernel).max())
    step = np.clip(np.rint(kernel * scale), -128, 127) / scale
    exact = layer.apply(
        {"params": {"kernel": jnp.asarray(step), "bias": jnp.zeros(6)}},
        jnp.asarray(quantized(x, scale_for(np.abs(x).max()))),
    )
    np.testing.assert_array_equal(y.value, quantized(exact, float(updates["quant"]["output_quantizer"]["scale"])))


def test_constrained_it_clips_weight_and_output():
    layer = ConvTranspose(6, (3, 3), 2, feature_group_count=2)
    x = 50 * random_array(3, 2, 5, 5, 4)
    cmodel = linger_jax.constrain(layer, {"clamp_info": {"clamp_activation_value": 2}})
    variables = cmodel.init(jax.random.key(0), x)
    same_bits(variables, layer.init(jax.random.key(0), x))
    assert np.abs(cmodel.apply(variables, x)).max() == 2.0


@pytest.mark.parametrize("padding", ["SAME", "VALID", [(2, 1), (0, 1)]])
@pytest.mark.parametrize("make", [nn.Conv, nn.ConvTranspose])
def test_padding_by_word_and_asymmetric_padding_are_quantized(make, padding):
    """Resolved to numbers and checked against the platform's limits (docs/decisions.md D18)."""
    layer = make(6, (3, 2), (2, 1), padding=padding)
    x = random_array(4, 2, 6, 5, 4)
    qmodel, variables = prepared(layer, x)
    y, updates = qmodel.apply_qtensor(variables, x, mutable=["quant"])
    state = updates["quant"]
    kernel = np.asarray(variables["params"]["kernel"])
    scale = float(state["weight_quantizer"]["scale"])
    params = {"kernel": jnp.asarray(np.clip(np.rint(kernel * scale), -128, 127) / scale), "bias": jnp.zeros(6)}
    exact = layer.apply({"params": params}, jnp.asarray(quantized(x, float(state["input_quantizer"]["scale"]))))
    np.testing.assert_array_equal(y.value, quantized(exact, float(y.scale)))


def test_padding_beyond_the_platform_s_limit_is_refused():
    """What the chip cannot do is a clear error (docs/decisions.md D18)."""
    x = random_array(5, 1, 20, 20, 4)
    model = linger_jax.init(nn.Conv(6, (5, 5), padding=[(5, 1), (0, 0)]), {"platform": "venus"})
    with pytest.raises(LingerError, match="padding 5 is outside what venus can run"):
        model.init(jax.random.key(0), x)
