"""The MOM statistic and its moving average."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linger_jax.config import ActivationType
from linger_jax.quantizers.statistic import largest_value, moving_average

f32 = np.float32


def test_moving_average_rounds_both_products_with_and_without_jit():
    rng = np.random.default_rng(0)
    count = 2_000_000
    running = np.exp(rng.uniform(-13, 20, count)).astype(f32)
    current = np.exp(rng.uniform(-13, 20, count)).astype(f32)
    started = np.ones(count, bool)
    want = (f32(0.9) * running).astype(f32) + (f32(0.1) * current).astype(f32)
    np.testing.assert_array_equal(jax.jit(moving_average)(running, current, started), want)
    np.testing.assert_array_equal(
        moving_average(jnp.asarray(running), jnp.asarray(current), jnp.asarray(started)), want
    )


def test_moving_average_starts_with_the_first_statistic():
    assert moving_average(f32(3), f32(7), np.array(False)) == 7


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_moving_average_keeps_nan_and_infinity(poison):
    kept = jax.jit(moving_average)(f32(poison), f32(1), np.array(True))
    np.testing.assert_array_equal(kept, f32(poison))


@pytest.mark.parametrize("shape", [(1,), (5,), (1000,), (7, 13), (64, 14, 14, 16), ()])
def test_largest_value_finds_every_nan_wherever_it_stands(shape):
    """XLA's CPU backend drops NaN from a plain maximum of a long array."""
    rng = np.random.default_rng(0)
    find = jax.jit(lambda x: largest_value(x, ActivationType.none, 8.0))
    for sign in (1, -1):
        for _ in range(20):
            x = rng.normal(size=shape).astype(f32)
            x.reshape(-1)[rng.integers(x.size)] = sign * np.nan
            assert np.isnan(find(x))


def test_largest_value_counts_one_sign_only_before_a_relu():
    x = jnp.array([-5.0, 2.0, 0.5])
    assert largest_value(x, ActivationType.none) == 5
    assert largest_value(x, ActivationType.Relu) == 2
    assert largest_value(x, ActivationType.LeakRelu) == 5
    assert largest_value(-jnp.abs(x), ActivationType.Relu) == f32(1e-6)
    assert largest_value(x, ActivationType.none, 3.0) == 3
    assert largest_value(x * 0, ActivationType.none) == f32(1e-6)


def test_largest_value_of_infinities_and_of_values_whose_squares_overflow():
    assert largest_value(jnp.array([jnp.inf, 1.0]), ActivationType.none) == np.inf
    assert largest_value(jnp.array([-jnp.inf, 1.0]), ActivationType.none) == np.inf
    assert largest_value(jnp.array([-jnp.inf, 1.0]), ActivationType.Relu) == 1
    assert largest_value(jnp.array([1e30, -3e38]), ActivationType.none) == f32(3e38)
