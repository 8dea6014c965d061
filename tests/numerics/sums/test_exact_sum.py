"""Channel moments: correctly rounded, independent of order and devices, differentiable."""

from __future__ import annotations

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from linger_jax.numerics.sums.exact_sum import channel_moments

SCALE = np.float32(32)
moments = jax.jit(channel_moments, static_argnums=(2,), static_argnames="bits")


def grid(shape: tuple[int, ...], bits: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-(2 ** (bits - 1)), 2 ** (bits - 1), shape)


def exact(steps: np.ndarray, axes: tuple[int, ...], power: int) -> np.ndarray:
    count = math.prod(steps.shape[a] for a in axes)
    sums = np.asarray((steps.astype(object) ** power).sum(axes))
    quotients = [Fraction(int(s), count * int(SCALE) ** power) for s in sums.ravel()]
    return np.array([nearest_float32(q) for q in quotients], np.float32).reshape(sums.shape)


def nearest_float32(q: Fraction) -> np.float32:
    """Correct rounding by comparing exact neighbours."""
    guess = np.float32(float(q))
    nearby = [np.nextafter(guess, np.float32(-np.inf)), guess, np.nextafter(guess, np.float32(np.inf))]
    return min(nearby, key=lambda c: (abs(Fraction(float(c)) - q), int(c.view(np.int32)) & 1))


@pytest.mark.parametrize(
    ("bits", "shape", "axes"),
    [
        (8, (16, 14, 14, 5), (0, 1, 2)),
        (8, (3, 40, 40, 2), (0, 1, 2)),
        (8, (3000, 3), (0,)),
        (8, (2, 3), (0,)),
        (4, (5, 6, 3), (0, 1)),
        (12, (5, 60, 3), (0, 1)),
        (12, (5, 2, 3), (0, 1)),
        (16, (8, 9, 10, 5), (0, 1, 2)),
        (24, (50, 3), (0,)),
        (8, (4, 3, 7, 9), (0, 2, 3)),
    ],
)
def test_moments_are_the_exact_values_rounded_once(bits, shape, axes):
    steps = grid(shape, bits)
    x = (steps / SCALE).astype(np.float32)
    for call in (moments, channel_moments):
        mean, squares = call(jnp.asarray(x), jnp.asarray(SCALE), axes, bits=bits)
        np.testing.assert_array_equal(mean, exact(steps, axes, 1))
        np.testing.assert_array_equal(squares, exact(steps, axes, 2))


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.sampled_from([8, 16]))
def test_moments_of_random_grids(seed, bits):
    steps = grid((7, 11, 3), bits, seed)
    mean, squares = moments((steps / SCALE).astype(np.float32), SCALE, (0, 1), bits=bits)
    np.testing.assert_array_equal(mean, exact(steps, (0, 1), 1))
    np.testing.assert_array_equal(squares, exact(steps, (0, 1), 2))


def test_moments_at_the_largest_magnitude():
    x = np.full((4, 64, 64, 1), -128 / SCALE, np.float32)
    mean, squares = moments(x, SCALE, (0, 1, 2), bits=8)
    assert (mean[0], squares[0]) == (-4, 16)


@pytest.mark.parametrize("count", [300, 308, 364, 420])
def test_a_mean_in_the_middle_of_two_numbers_goes_to_the_even_one(count):
    """8388008.25 = sum / count exactly: a product with the reciprocal of these counts misses the tie."""
    x = np.full((count, 1), 8388008, np.float32)
    x[: count // 4] += 1
    assert moments(x, np.float32(1), (0,), bits=24)[0][0] == 8388008


@pytest.mark.parametrize("bits", [8, 16])
def test_order_and_devices_do_not_show(bits):
    """Decision D17."""
    x = (grid((8, 33, 17, 3), bits) / SCALE).astype(np.float32)
    want = moments(x, SCALE, (0, 1, 2), bits=bits)
    sharding = NamedSharding(Mesh(np.array(jax.devices()[:2]), ("batch",)), PartitionSpec("batch"))
    shuffled = np.random.default_rng(1).permutation(x.reshape(-1, 3)).reshape(x.shape)
    for other in (jax.device_put(x, sharding), shuffled):
        for a, b in zip(moments(other, SCALE, (0, 1, 2), bits=bits), want, strict=True):
            np.testing.assert_array_equal(a, b)


def test_moments_do_not_depend_on_the_x64_flag_or_on_scan():
    x = (grid((3, 8, 5, 2), 8) / SCALE).astype(np.float32)
    want = [moments(v, SCALE, (0, 1), bits=8) for v in x]
    with jax.enable_x64(True):
        got = jax.jit(lambda x: channel_moments(x, jnp.float32(SCALE), (0, 1), bits=8))(x[0])
        assert got[0].dtype == jnp.float32
        np.testing.assert_array_equal(got, want[0])
    _, scanned = jax.jit(
        lambda x: jax.lax.scan(lambda c, v: (c, channel_moments(v, jnp.float32(SCALE), (0, 1), bits=8)), 0, x)
    )(x)
    np.testing.assert_array_equal(np.stack(scanned, 1), np.array(want))


def test_gradients_are_one_over_n_and_two_x_over_n():
    x = (grid((6, 4, 3), 8) / SCALE).astype(np.float32)
    weights = np.array([[1.0, 2.0, -3.0], [0.5, 0.25, 4.0]], np.float32)

    def loss(x: jax.Array) -> jax.Array:
        mean, squares = channel_moments(x, jnp.float32(SCALE), (0, 1), bits=8)
        return jnp.sum(mean * weights[0]) + jnp.sum(squares * weights[1])

    want = (weights[0] + 2 * x * weights[1]) / 24
    np.testing.assert_allclose(jax.grad(loss)(jnp.asarray(x)), want, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(jax.grad(jax.checkpoint(loss)))(x), want, rtol=1e-6)
