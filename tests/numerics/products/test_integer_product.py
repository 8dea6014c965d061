"""Exact integer products against numpy's 64-bit integers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from linger_jax.numerics import int64
from linger_jax.numerics.products.integer_product import integer_product


def dot(x, y, x_bits, y_bits, magnitude=None, calls=None):
    """x [M, K] times y [N, K] as int64."""

    def product(a, b):
        if calls is not None:
            calls.append(a.shape)
        return lax.dot_general(a, b, (((1,), (1,)), ((), ())), precision=lax.Precision.HIGHEST)

    with int64.region():
        total = integer_product(
            product,
            jnp.asarray(x, jnp.int32),
            y.astype(np.int32),
            x_bits=x_bits,
            y_bits=y_bits,
            terms=x.shape[1],
            contracted=x.shape[1],
            cut_x=lambda v, start, stop: v[:, start:stop],
            cut_y=lambda v, start, stop: v[:, start:stop],
            magnitude=magnitude,
        )
        return np.asarray(total.value)


def integers(rng, shape, bits, extreme):
    least, most = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    return rng.choice([least, most], shape) if extreme else rng.integers(least, most, shape, endpoint=True)


@settings(max_examples=30)
@given(
    st.sampled_from([(8, 8), (8, 4), (16, 8), (8, 16), (16, 16), (12, 10)]),
    st.sampled_from([1, 7, 600, 3000]),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_products_are_exact(bits, terms, extreme, seed):
    rng = np.random.default_rng(seed)
    x, y = integers(rng, (2, terms), bits[0], extreme), integers(rng, (3, terms), bits[1], extreme)
    np.testing.assert_array_equal(dot(x, y, *bits), x @ y.T)


def test_sums_beyond_what_float32_holds_are_exact():
    x, y = np.full((1, 4096), -128), np.full((1, 4096), -128)
    x[0, 0], y[0, 0] = 1, 1
    assert dot(x, y, 8, 8) == 4095 * 2**14 + 1
    assert 4095 * 2**14 + 1 > 2**24


@pytest.mark.parametrize("x64", [False, True])
def test_results_do_not_depend_on_the_users_x64_flag(x64):
    rng = np.random.default_rng(0)
    x, y = integers(rng, (2, 50), 16, True), integers(rng, (3, 50), 16, True)
    with jax.enable_x64(x64):
        np.testing.assert_array_equal(dot(x, y, 16, 16), x @ y.T)


def test_known_small_weights_need_fewer_pieces():
    x, y = np.full((1, 4000), -128), np.ones((1, 4000), np.int64)
    by_width, by_value = [], []
    dot(x, y, 8, 8, calls=by_width)
    total = dot(x, y, 8, 8, magnitude=np.abs(y).max(axis=0), calls=by_value)
    assert total == -128 * 4000
    assert len(by_value) == 1
    assert len(by_width) == 4
