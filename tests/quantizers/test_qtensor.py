"""Quantized values made and taken by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linger_jax
from linger_jax import LingerError, from_qtensor_to_tensor, from_tensor_to_qtensor

VALUE = jnp.asarray([-0.5, 0.25, 0.75])


@pytest.mark.parametrize("scale", [8, 8.0, np.float32(8), jnp.float32(8)])
def test_making_and_taking_a_quantized_value_changes_neither_value_nor_gradient(scale):
    made = from_tensor_to_qtensor(VALUE, scale, 8)
    assert isinstance(made, linger_jax.QTensor)
    assert (made.scale, made.scale.dtype, made.bits) == (8, jnp.float32, 8)
    np.testing.assert_array_equal(from_qtensor_to_tensor(made), VALUE)
    gradient = jax.grad(lambda v: jnp.sum(jnp.sin(from_qtensor_to_tensor(from_tensor_to_qtensor(v, scale, 8)))))(VALUE)
    np.testing.assert_array_equal(gradient, jnp.cos(VALUE))


@pytest.mark.parametrize(
    ("value", "scale", "bits", "message"),
    [
        (VALUE, 3, 8, "power of two.*got 3"),
        (VALUE, 0.0, 8, "power of two"),
        (VALUE, jnp.ones(3), 8, r"one scale, got an array of shape \(3,\)"),
        (VALUE, 8, 1, "2 to 32 bits, got 1"),
        (VALUE, 8, 8.0, r"2 to 32 bits, got 8\.0"),
        (jnp.arange(3), 8, 8, "float32 array, got int32"),
        ([0.5], 8, 8, "float32 array, got list"),
    ],
)
def test_what_is_no_quantized_value_is_refused(value, scale, bits, message):
    with pytest.raises(LingerError, match=message):
        from_tensor_to_qtensor(value, scale, bits)


def test_a_plain_array_is_no_quantized_value():
    with pytest.raises(LingerError, match="expected a QTensor"):
        from_qtensor_to_tensor(VALUE)
