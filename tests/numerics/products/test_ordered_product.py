"""The matrix product of one fixed order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linger_jax.numerics.products.ordered_product import ordered_product


def plain_sum(x, weight):
    total = np.zeros((*x.shape[:-1], weight.shape[1]), np.float32)
    for k in range(x.shape[-1]):
        total = total + x[..., k, None] * weight[k]
    return total


@pytest.mark.parametrize("shape", [(4, 6), (2, 3, 17)])
@pytest.mark.parametrize("compile_it", [False, True])
def test_every_product_and_every_sum_is_rounded_in_order(shape, compile_it):
    random = np.random.default_rng(0)
    x = random.normal(size=shape).astype(np.float32)
    weight = random.normal(size=(shape[-1], 9)).astype(np.float32)
    run = jax.jit(ordered_product) if compile_it else ordered_product
    np.testing.assert_array_equal(run(jnp.asarray(x), jnp.asarray(weight)), plain_sum(x, weight))
