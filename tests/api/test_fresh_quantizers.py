"""Evaluating quantizers that never saw data (docs/decisions.md D6)."""

import flax.linen as nn
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
