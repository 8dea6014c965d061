"""Rounding sums of two float32 numbers against exact fractions."""

from fractions import Fraction

import jax
import numpy as np
import pytest

from linger_jax.config import RoundMode
from linger_jax.numerics.look_up.split_rounding import round_split

f32 = np.float32


def numbers():
    """Numbers of 48 bits: any, ties, and neighbours of ties and whole numbers that only the second part tells."""
    rng = np.random.default_rng(0)
    any_number = rng.normal(size=4000) * 2.0 ** rng.integers(-30, 25, 4000)
    ties = rng.integers(-(2**10), 2**10, 2000) / 2
    beside = ties + np.ldexp(rng.integers(-1, 2, 2000), rng.integers(-38, -30, 2000))
    edges = [0.0, 0.5, -0.5, 0.49999999999, -0.50000000001, 2.0**23 - 0.5, 2.0**22 + 0.5, -(2.0**22) - 0.5]
    exact = np.concatenate([any_number, ties, beside, edges])
    high = exact.astype(f32)
    return high, (exact - high).astype(f32)


HOST = {
    RoundMode.floor_add: lambda v: (v + Fraction(1, 2)).__floor__(),
    RoundMode.floor: lambda v: v.__floor__(),
    RoundMode.round: round,
    RoundMode.ceil: round,
}


@pytest.mark.parametrize("mode", RoundMode)
@pytest.mark.parametrize("scale", [1.0, 64.0, 2.0**23])
def test_an_exact_number_is_rounded_once(mode, scale):
    high, low = numbers()
    got = np.asarray(jax.jit(round_split, static_argnums=3)(high, low, f32(scale), mode))
    exact = [(Fraction(float(h)) + Fraction(float(v))) * int(scale) for h, v in zip(high, low, strict=True)]
    fits = np.abs(high * f32(scale)) < 2**23
    want = np.array([HOST[mode](v) for v, fit in zip(exact, fits, strict=True) if fit], np.float64)
    np.testing.assert_array_equal(got[fits], want)
    np.testing.assert_array_equal(got[~fits], high[~fits] * f32(scale))
    assert not np.signbit(got[got == 0]).any()


@pytest.mark.parametrize("mode", RoundMode)
def test_infinities_and_nan_pass(mode):
    high = np.array([np.inf, -np.inf, np.nan], f32)
    np.testing.assert_array_equal(round_split(high, np.zeros(3, f32), f32(4), mode), high)
