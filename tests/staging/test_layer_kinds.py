"""What counts as a layer: known classes, by the function that runs, with a reason where it cannot be quantized."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linger_jax.staging import layer_p
from tests.models import drawn, random_array
from tests.staging.staging_run import equations, layer_names, layers, run_staged, scopes, staged_call

X = random_array(0, 2, 4)
IMAGE = random_array(1, 2, 6, 6, 4)


def the_layer(model, *args, **kwargs):
    variables = drawn(model, *args, **kwargs)
    (info,) = layers(staged_call(model, variables, *args, **kwargs)[0])
    return info


KINDS = {
    "dense": (nn.Dense(3), X),
    "DenseGeneral over two axes": (nn.DenseGeneral((2, 3), axis=(-2, -1)), IMAGE),
    "DenseGeneral over a batch": (nn.DenseGeneral(3, batch_dims=(0,)), X),
    "einsum": (nn.Einsum((4, 3), "ab,bc->ac"), X),
    "conv": (nn.Conv(3, (3, 3)), IMAGE),
    "ConvLocal": (nn.ConvLocal(3, (3, 3)), IMAGE),
    "one-dimensional conv": (nn.Conv(3, (3,)), random_array(2, 2, 6, 4)),
    "conv_transpose": (nn.ConvTranspose(3, (3, 3)), IMAGE),
    "batch_norm": (nn.BatchNorm(use_running_average=True), IMAGE),
    "embed": (nn.Embed(5, 4), jnp.array([1, 2])),
    "dropout": (nn.Dropout(0.5, deterministic=True), X),
    "layer_norm": (nn.LayerNorm(), X),
    "group_norm": (nn.GroupNorm(2), IMAGE),
    "rms_norm": (nn.RMSNorm(), X),
}
WORDS = {
    "DenseGeneral over two axes": "dense",
    "DenseGeneral over a batch": "dense",
    "ConvLocal": "conv",
    "one-dimensional conv": "conv",
}


@pytest.mark.parametrize("name", KINDS)
def test_known_class_is_a_layer_of_its_kind(name):
    info = the_layer(*KINDS[name])
    assert (info.kind.name, info.refusal) == (WORDS.get(name, name), None)


REFUSED = {
    "bfloat16": (nn.Dense(3, dtype=jnp.bfloat16), X, "bfloat16: quantization is exact in float32 only"),
    "float16": (nn.Conv(3, (3, 3), dtype=jnp.float16), IMAGE, "float16"),
    "masked local kernel": (nn.ConvLocal(3, (3, 3), mask=jnp.ones((6, 6, 36, 3))), IMAGE, "weight mask"),
    "three axes": (nn.Conv(3, (3, 3, 3)), random_array(2, 1, 4, 4, 4, 2), "over 3 axes"),
    "input dilation": (nn.Conv(3, (3, 3), padding=1, input_dilation=2), IMAGE, "input_dilation"),
    "masked kernel": (nn.Conv(3, (3, 3), mask=jnp.ones((3, 3, 4, 3))), IMAGE, "weight mask"),
    "another product": (nn.Dense(3, dot_general=jax.lax.dot_general), X, "dot_general replaces"),
    "channels first": (nn.BatchNorm(use_running_average=True, axis=1), IMAGE, "only the last axis"),
    "pmap statistics": (nn.BatchNorm(use_running_average=True, axis_name="batch"), IMAGE, "axis_name"),
}


@pytest.mark.parametrize(("model", "x", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_layer_outside_the_chip_s_means_carries_the_reason(model, x, reason):
    assert reason in the_layer(model, x).refusal


def test_batch_norm_mask_is_refused():
    model = nn.BatchNorm(use_running_average=True)
    variables = drawn(model, X)
    (info,) = layers(staged_call(model, variables, X, mask=np.ones((2, 4), bool))[0])
    assert info.refusal == "a mask is not supported"


class Plain(nn.Dense):
    pass


class Doubled(nn.Dense):
    @nn.compact
    def __call__(self, x):
        return super().__call__(x) * 2


class Foreign(nn.Dense):
    @nn.compact
    def __call__(self, x):
        return x @ self.param("kernel", nn.initializers.ones, (x.shape[-1], self.features))


class Standardized(nn.Conv):
    def param(self, name, *args, **kwargs):
        value = super().param(name, *args, **kwargs)
        return value - jnp.mean(value) if name == "kernel" else value


def staged_and_float(model, x):
    variables = drawn(model, x)
    staged, arrays = staged_call(model, variables, x)
    np.testing.assert_array_equal(run_staged(staged, variables, arrays)[0], model.apply(variables, x))
    return staged


def test_subclass_without_its_own_call_is_the_layer():
    info = the_layer(Plain(3), X)
    assert (info.kind.name, info.type_name, info.module_type) == ("dense", "Plain", Plain)


@pytest.mark.model
def test_subclass_that_calls_super_is_a_scope_around_the_layer():
    staged = staged_and_float(Doubled(3), X)
    assert (scopes(staged), layer_names(staged)) == ([""], ["dense:<root>"])


@pytest.mark.model
def test_subclass_with_another_computation_is_no_layer():
    staged = staged_and_float(Foreign(3), X)
    assert (scopes(staged), layer_names(staged)) == ([""], [])


@pytest.mark.model
def test_subclass_that_computes_its_parameters_is_refused():
    staged = staged_and_float(Standardized(3, (3, 3)), IMAGE)
    assert layers(staged)[0].refusal == "Standardized computes its parameters (it overrides param)"


def test_a_layer_of_float32_parameters_reads_numbers_and_one_of_float16_what_it_is_given():
    x = np.ones((2, 3), np.float16)
    for dtype in (np.float32, np.float16):
        model = nn.Dense(4, param_dtype=dtype)
        staged, _ = staged_call(model, drawn(model, x.astype(dtype)), x)
        (marker,) = [e for e in equations(staged.jaxpr) if e.primitive is layer_p]
        assert [a.dtype for a in (marker.invars[0].aval, marker.outvars[0].aval)] == [dtype, dtype]
