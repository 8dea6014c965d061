"""Quantizers that never saw data (docs/decisions.md D6), or zeros alone (docs/decisions.md D28)."""

import flax.linen as nn
import jax
import numpy as np
import pytest

import linger_jax
from linger_jax import LingerWarning
from tests.interpret.steps import REFERENCE, TQT, quantized, same_bits, trained
from tests.models import Mlp, prepared, random_array

X = random_array(1, 4, 5)


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


class StartsAtZero(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3, name="head")(nn.relu(nn.Dense(8, name="body")(x)))


@pytest.mark.parametrize("calibrates", [True, False])
def test_a_layer_that_starts_at_zero_trains_from_its_second_step(calibrates):
    qmodel, variables = prepared(StartsAtZero(), X)
    variables = {**variables, "params": jax.tree.map(np.array, variables["params"])}
    variables["params"]["head"]["kernel"][...] = 0
    if calibrates:
        variables = linger_jax.calibrate(qmodel, variables, [X], progress=False)
    rest = {"quant": variables["quant"]}

    @jax.jit
    def step(params, rest):
        def loss(params):
            output, updates = qmodel.apply({"params": params, **rest}, X, mutable=["quant"])
            return ((output - 1) ** 2).mean(), updates

        slopes, updates = jax.grad(loss, has_aux=True)(params)
        return jax.tree.map(lambda p, g: p - np.float32(0.1) * g, params, slopes), updates, slopes

    params, reached = variables["params"], []
    for _ in range(4):
        params, rest, slopes = step(params, rest)
        reached.append(float(np.abs(slopes["body"]["kernel"]).max()))
    assert reached[0] == 0  # nothing passes a kernel of zeros
    assert min(reached[1:]) > 0
