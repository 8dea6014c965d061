"""Clipping with a straight-through gradient."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from linger_jax.quantizers import ste_clip

X = np.array([2.0, -2.0, 2.5, -3.0, 0.1, 1e-40, np.nan], np.float32)


def test_values_beyond_the_bound_are_cut_and_all_others_kept_to_the_bit():
    got = np.asarray(jax.jit(ste_clip, static_argnums=1)(X, 2.0))
    want = np.array([2.0, -2.0, 2.0, -2.0, 0.1, 1e-40, np.nan], np.float32)
    np.testing.assert_array_equal(got.view(np.int32), want.view(np.int32))


def test_gradient_passes_inside_and_on_the_bound():
    grad = jax.grad(lambda x: jnp.sum(ste_clip(x, 2.0)))(jnp.asarray(X))
    np.testing.assert_array_equal(grad, [1, 1, 0, 0, 1, 1, 0])


def test_a_traced_bound_receives_no_gradient():
    grad = jax.grad(lambda x, b: jnp.sum(ste_clip(x, b)), argnums=1)(jnp.asarray(X), jnp.float32(2))
    assert grad == 0
