"""Rounding modes against exact arithmetic."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linger_jax.config import RoundMode
from linger_jax.numerics.rounding import round_down, round_half_even, round_half_up, round_scaled

f32 = np.float32


def values() -> np.ndarray:
    rng = np.random.default_rng(0)
    every = rng.integers(0, 2**32, 1_000_000, np.uint32).view(f32)
    ties = (rng.integers(-(2**24), 2**24, 200_000) / 2).astype(f32)
    beside = (ties.view(np.int32) + rng.integers(-1, 2, ties.size, np.int32)).view(f32)
    return np.concatenate([every, ties, beside, np.array([0.0, -0.0, 0.49999997, -0.5, 0.5, 1e-45, -1e-45], f32)])


HOST = {
    RoundMode.floor_add: lambda v: np.floor((v + f32(0.5)).astype(f32)),
    RoundMode.floor: np.floor,
    RoundMode.round: np.rint,
    RoundMode.ceil: np.rint,
}


@pytest.mark.parametrize("mode", RoundMode)
@pytest.mark.parametrize("scale", [1.0, 128.0, 2.0**23])
def test_scaled_values_round_as_on_the_host_and_zero_is_positive(mode, scale):
    x = values()
    with np.errstate(all="ignore"):
        want = HOST[mode]((x * f32(scale)).astype(f32)) + f32(0)
    got = np.asarray(jax.jit(round_scaled, static_argnums=2)(x, f32(scale), mode))
    np.testing.assert_array_equal(got, want)
    assert not np.signbit(got[got == 0]).any()
    np.testing.assert_array_equal(round_scaled(jnp.asarray(x[:5000]), jnp.float32(scale), mode), want[:5000])


def test_half_up_adds_in_float32():
    v = jnp.array([0.49999997, -0.5, 8388609.0, -8388609.0, 1.5, 2.5], jnp.float32)
    np.testing.assert_array_equal(round_half_up(v), [1, 0, 8388610, -8388608, 2, 3])


def test_half_even_and_down_return_positive_zeros():
    v = jnp.array([-0.0, -0.3, 0.3, 0.5, 1.5, -0.5])
    got = np.asarray(round_half_even(v))
    np.testing.assert_array_equal(got, [0, 0, 0, 0, 2, 0])
    assert not np.signbit(got).any()
    down = np.asarray(round_down(v))
    np.testing.assert_array_equal(down, [0, -1, 0, 0, 1, -1])
    assert not np.signbit(down[down == 0]).any()
