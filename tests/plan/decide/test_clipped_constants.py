"""Constants that their quantizer clips (docs/codes.md O19): told exactly when it does, with the value it uses."""

import re

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linger_jax.plan import Constant
from linger_jax.plan.decide.clipped_constants import clipped_constant
from linger_jax.quantizers import QuantizerKind, QuantizerSpec, initial_state, quantize

SPEC = QuantizerSpec(kind=QuantizerKind.activation, bits=8)


def constant(value):
    return Constant(value, np.shape(value), np.dtype(np.float32))


@pytest.mark.kernel
@settings(max_examples=80)
@given(st.floats(2.0**-30, 2.0**20, width=32), st.sampled_from([-1.0, 1.0]))
def test_it_is_what_the_quantizer_makes_of_the_constant(magnitude, sign):
    number = np.float32(magnitude * sign)
    y, state = quantize(SPEC, jnp.asarray(number), initial_state(SPEC), training=True)
    text = clipped_constant(constant(number), SPEC)
    steps = np.floor(float(number) * float(state["scale"]) + 0.5)
    assert (text is not None) == (steps > 127 or steps < -128)
    if text is not None:
        used = re.search(r"counts as (\S+):", text)
        assert np.float32(used[1]) == pytest.approx(float(y), rel=1e-7)


@pytest.mark.parametrize("number", [0.5, 1.0, 2.0, 1.3, 1000.0])
def test_clipped_numbers(number):
    assert "it is clipped" in clipped_constant(constant(number), SPEC)


@pytest.mark.parametrize("value", [0.0, 0.75, -1.0, np.float32([1.0, 2.0]), np.inf, 7])
def test_what_fits_is_an_array_or_has_no_scale_is_not_told(value):
    assert clipped_constant(constant(value), SPEC) is None


def test_a_value_of_the_graph_is_no_constant():
    assert clipped_constant(3, SPEC) is None
