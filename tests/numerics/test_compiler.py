"""What XLA does to arithmetic on a CPU, under the flags of ``make test`` too: numerics are built against it."""

import jax
import jax.numpy as jnp
import numpy as np

COUNT = 4096


def drawn(seed):
    return np.random.default_rng(seed).normal(size=COUNT).astype(np.float32)


def test_a_product_and_a_sum_are_contracted():
    a, b, c = (drawn(seed) for seed in range(3))
    contracted = np.float32(np.float64(a) * np.float64(b) + np.float64(c))
    ours = np.asarray(jax.jit(lambda a, b, c: a * b + c)(a, b, c))
    assert (ours != a * b + c).any()
    assert (ours == contracted).mean() > 0.999  # the product in float64 is exact, its sum may round twice


def test_a_division_by_a_number_is_a_product_with_its_reciprocal():
    a = drawn(0)
    ours = np.asarray(jax.jit(lambda a: a / jnp.float32(3))(a))
    np.testing.assert_array_equal(ours, a * np.float32(1 / 3))
    assert (ours != a / np.float32(3)).any()


def test_denormals_are_flushed():
    normal, denormal = np.full(COUNT, 1.5e-38, np.float32), np.full(COUNT, 1e-39, np.float32)
    assert not jax.jit(lambda x: x * jnp.float32(2))(denormal).any()
    assert not jax.jit(lambda x, y: x - y)(normal, normal - denormal).any()
