"""Division that stays a division, and clipping that keeps bits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from linger_jax.numerics.clipping import clip_symmetric
from linger_jax.numerics.true_division import true_quotient, true_reciprocal

NUMERATORS = np.random.default_rng(0).integers(-(2**24), 2**24, 200_000)


def test_quotients_are_correctly_rounded_inside_and_outside_jit():
    for dtype in (np.float32, np.float64):
        with jax.enable_x64(dtype is np.float64):
            x = NUMERATORS.astype(dtype)
            divisors = [np.array(d, dtype) for d in (3, 7, 9, 49)] + [
                np.random.default_rng(1).integers(1, 99, x.shape).astype(dtype)
            ]
            for divisor in divisors:
                want = x / divisor
                np.testing.assert_array_equal(jax.jit(lambda x, d=divisor: true_quotient(x, d))(x), want)
                np.testing.assert_array_equal(true_quotient(jnp.asarray(x), divisor), want)


def test_a_scalar_divided_by_a_scalar():
    divide = jax.jit(lambda x: true_quotient(x, np.float32(9)))
    got = [float(divide(np.float32(n))) for n in range(100)]
    assert got == [float(np.float32(n) / np.float32(9)) for n in range(100)]


def test_the_reciprocal_of_a_square_root_is_two_roundings_not_one_approximation():
    x = np.random.default_rng(0).uniform(1e-5, 1e3, 200_000).astype(np.float32)
    want = np.float32(1) / np.sqrt(x)
    np.testing.assert_array_equal(jax.jit(lambda x: true_reciprocal(jnp.sqrt(x)))(x), want)


def test_clip_symmetric_keeps_every_bit_it_does_not_cut():
    patterns = np.random.default_rng(0).integers(0, 2**32, 500_000, np.uint32)
    x = patterns.view(np.float32)
    got = np.asarray(jax.jit(clip_symmetric)(x, np.float32(2))).view(np.uint32)
    with np.errstate(invalid="ignore"):
        want = np.where(np.abs(x) > 2, np.copysign(np.float32(2), x), x).view(np.uint32)
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(
        np.asarray(clip_symmetric(jnp.asarray(x), jnp.float32(np.inf))).view(np.uint32), patterns
    )
