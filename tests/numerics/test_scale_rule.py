"""From statistic and threshold to scale: the table, the rule, its ends."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linger_jax.numerics.scale_rule import (
    ExponentTies,
    derived_threshold,
    exp2_rounded,
    exponent_of_power_of_two,
    log2_rounded,
    power_of_two,
    published_thresholds,
    scale_of_statistic,
    scale_of_threshold,
)

f32 = np.float32
WIDTHS = [2, 3, 4, 5, 7, 8, 9, 10, 12, 15, 16, 20, 24, 31, 32]


def scale_by_logarithm(log2: np.ndarray, bits: int, ties: ExponentTies) -> np.ndarray:
    t = (f32(bits - 1) - log2.astype(f32)).astype(f32)
    exponent = np.rint(t) if ties is ExponentTies.half_even else np.copysign(np.floor(np.abs(t.astype(float)) + 0.5), t)
    return (2.0 ** np.clip(exponent, 0, 23)).astype(f32)


def test_derived_thresholds_are_the_published_ones():
    for bits, row in published_thresholds().items():
        for octave, mantissa in row.items():
            assert derived_threshold(bits, octave) == mantissa, (bits, octave)


@pytest.mark.parametrize("ties", ExponentTies)
@pytest.mark.parametrize("bits", WIDTHS)
def test_scale_of_statistic_is_that_of_the_rounded_logarithm(bits, ties):
    rng = np.random.default_rng(bits)
    anywhere = np.exp2(rng.uniform(-19.9, 40, 20_000)).astype(f32)
    middles = np.exp2(np.arange(-19, 34) + 0.5).astype(f32).view(np.int32)
    near = (middles[:, None] + np.arange(-40, 41, dtype=np.int32)).ravel().view(f32)
    powers = np.exp2(np.arange(-19, 40)).astype(f32).view(np.int32)
    statistic = np.concatenate([anywhere, near, (powers[:, None] + np.arange(-2, 3, dtype=np.int32)).ravel().view(f32)])
    log2 = np.log2(statistic.astype(np.float64)).astype(f32)
    got = jax.jit(scale_of_statistic, static_argnums=(1, 2))(statistic, bits, ties)
    np.testing.assert_array_equal(got, scale_by_logarithm(log2, bits, ties))


@pytest.mark.parametrize("ties", ExponentTies)
@pytest.mark.parametrize("bits", [2, 8, 16, 32])
def test_scale_of_threshold_follows_the_rule_and_tells_its_limits(bits, ties):
    rng = np.random.default_rng(0)
    halves = (np.arange(-60, 80) / 2).astype(f32)
    threshold = np.concatenate([rng.uniform(-30, 40, 5000).astype(f32), halves, np.nextafter(halves, f32(99))])
    scale, within = jax.jit(scale_of_threshold, static_argnums=(1, 2))(threshold, bits, ties)
    np.testing.assert_array_equal(scale, scale_by_logarithm(threshold, bits, ties))
    t = (f32(bits - 1) - threshold).astype(f32)
    low, high = (t >= -0.5, t <= 23.5) if ties is ExponentTies.half_even else (t > -0.5, t < 23.5)
    if ties is ExponentTies.half_even:
        high &= t < 23.5
    np.testing.assert_array_equal(within, low & high)


def test_nan_and_infinity_poison_the_scale():
    bad = np.array([np.nan, np.inf], f32)
    assert np.isnan(scale_of_statistic(jnp.asarray(bad), 8)).all()
    assert np.isnan(scale_of_threshold(jnp.asarray(bad), 8)[0]).all()
    assert np.isnan(scale_of_threshold(jnp.asarray(-bad), 8)[0]).all()
    assert not scale_of_threshold(jnp.asarray(bad), 8)[1].any()


def test_powers_of_two_and_their_exponents():
    exponents = np.arange(-126, 128, dtype=np.int32)
    powers = power_of_two(jnp.asarray(exponents))
    np.testing.assert_array_equal(powers, np.exp2(exponents.astype(np.float64)).astype(f32))
    np.testing.assert_array_equal(exponent_of_power_of_two(powers), exponents)


def test_logarithm_and_exponential_are_rounded_once():
    x = np.exp(np.random.default_rng(0).uniform(-80, 80, 300_000)).astype(f32)
    x = np.concatenate([x, np.exp2(np.arange(-126, 128)).astype(f32)])
    log2 = np.log2(x.astype(np.float64)).astype(f32)
    np.testing.assert_array_equal(jax.jit(log2_rounded)(x), log2)
    np.testing.assert_array_equal(log2_rounded(jnp.asarray(x)), log2)
    np.testing.assert_array_equal(exp2_rounded(jnp.asarray(log2)), np.exp2(log2.astype(np.float64)).astype(f32))
    assert log2_rounded(jnp.float32(0)) == -np.inf
