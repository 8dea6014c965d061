"""From grid values to the integers of the function kernels and back (docs/specification/chip_kernels.md section 9)."""

from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linger_jax.config import RoundMode
from linger_jax.numerics import float_functions
from linger_jax.numerics.chip_kernels.fixed_point import (
    fixed_scale,
    from_fixed_point,
    steps_to_fixed_point,
    values_to_fixed_point,
)


def convert(x, exponent, fraction_bits, mode=RoundMode.floor_add):
    return np.asarray(steps_to_fixed_point(jnp.asarray(np.float32(x)), jnp.float32(2.0**exponent), fraction_bits, mode))


@settings(max_examples=60)
@given(st.integers(-(2**15), 2**15 - 1), st.integers(0, 23), st.sampled_from([11, 27]))
def test_grid_values_become_exact_multiples(steps, exponent, fraction_bits):
    exact = Fraction(steps) * Fraction(2) ** (fraction_bits - exponent)
    got = convert(np.ldexp(np.float32(steps), -exponent), exponent, fraction_bits)
    assert Fraction(float(got)) == (exact + Fraction(1, 2)).__floor__()


def test_finer_grids_than_the_kernel_s_round_half_up():
    x = np.float32([1, 2, 3, -1, -2, -3]) / 2.0**13
    np.testing.assert_array_equal(convert(x, 13, 11), [0, 1, 1, 0, 0, -1])


@pytest.mark.parametrize(("mode", "steps"), [("floor_add", 2), ("floor", 1), ("round", 2)])
def test_values_off_the_grid_are_rounded_as_the_input_quantizer_does(mode, steps):
    assert convert(1.5, 0, 11, RoundMode(mode)) == steps * 2048


def test_softmax_takes_values_half_up_whatever_their_scale():
    x = jnp.float32([1.0, -1.0, 2.0**-26, -(2.0**-26), 3 * 2.0**-27])
    np.testing.assert_array_equal(values_to_fixed_point(x, 25), [2.0**25, -(2.0**25), 1, 0, 1])


def test_results_are_rounded_to_float32_before_they_are_scaled():
    y = jnp.int32([1, -1, 2**24 + 1, 2**31 - 1, -(2**31)])
    np.testing.assert_array_equal(from_fixed_point(y, 27), np.float32(np.asarray(y)) / np.float32(2.0**27))


def test_fixed_scale_puts_one_at_the_end_of_the_grid():
    assert [fixed_scale(bits) for bits in (8, 16, 32)] == [128.0, 32768.0, 2.0**31]


@pytest.mark.parametrize(
    ("function", "exact"),
    [(float_functions.tanh, np.tanh), (float_functions.sigmoid, lambda x: 1 / (1 + np.exp(-x)))],
    ids=["tanh", "sigmoid"],
)
def test_float_functions_are_correct_to_the_last_bit(function, exact):
    x = np.linspace(-9, 9, 4001, dtype=np.float32)
    got, wanted = np.asarray(function(jnp.asarray(x))), exact(x.astype(np.float64)).astype(np.float32)
    assert got.dtype == np.float32
    assert (got != wanted).mean() < 1e-3, "but for double rounding"
    np.testing.assert_allclose(got, wanted, rtol=1.2e-7)
