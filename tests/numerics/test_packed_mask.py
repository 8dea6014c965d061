"""Packed masks: what goes in comes out, and the backward pass keeps bits instead of floats."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from linger_jax.numerics.packed_mask import pack, relu, unpack


def random_mask(shape):
    return jax.device_put(np.random.default_rng(0).integers(0, 2, shape).astype(bool))


@pytest.mark.parametrize(
    ("shape", "packed"),
    [
        ((4, 16, 32, 64), (4, 16, 4, 64)),
        ((2, 48, 30, 64), (2, 6, 30, 64)),
        ((64, 128, 16), (64, 16, 16)),
        ((512, 512), (512, 512)),
        ((2, 30, 60, 64), (2, 30, 60, 64)),
        ((4, 8, 4), (4, 8, 4)),
        ((), ()),
        ((0, 8, 3), (0, 8, 3)),
    ],
)
def test_a_mask_comes_back(shape, packed):
    mask = random_mask(shape)
    bits = jax.jit(pack)(mask)
    assert bits.shape == packed
    assert bits.dtype == (jnp.bool_ if packed == shape else jnp.uint8)
    np.testing.assert_array_equal(jax.jit(unpack, static_argnums=1)(bits, shape), mask)


@pytest.mark.parametrize("shape", [(4, 16, 32, 64), (5,)])
def test_relu_is_that_of_jax(shape):
    random = np.random.default_rng(0)
    x = jnp.asarray(random.choice([-1.5, -0.0, 0.0, 0.5, np.nan, np.inf, -np.inf], shape), jnp.float32)
    g = jnp.asarray(random.normal(size=shape), jnp.float32)
    for transform in (lambda f: f, jax.jit, jax.checkpoint):
        (ours, backward), (theirs, backward_theirs) = (jax.vjp(transform(f), x) for f in (relu, jax.nn.relu))
        np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(backward(g)[0], backward_theirs(g)[0])


def test_relu_under_vmap_and_scan():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4, 16, 32, 64)), jnp.float32)

    def gradients(f):
        def step(total, x):
            return total + (f(x) ** 2).sum(), None

        over_scan = jax.grad(lambda x: jax.lax.scan(step, jnp.float32(0), x)[0])
        return jax.vmap(jax.grad(lambda x: (f(x) ** 2).sum()))(x), over_scan(x)

    jax.tree.map(np.testing.assert_array_equal, gradients(relu), gradients(jax.nn.relu))


def test_a_batch_split_over_devices_needs_no_communication():
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 16, 32, 64)), jnp.float32)
    split = jax.device_put(x, NamedSharding(mesh, PartitionSpec("batch")))
    gradient = jax.grad(lambda x: (relu(x) ** 2).sum())
    compiled = jax.jit(gradient).lower(split).compile()
    assert not any(word in compiled.as_text() for word in ("all-gather", "all-reduce", "all-to-all", "collective"))
    np.testing.assert_array_equal(compiled(split), gradient(x))


def test_the_backward_pass_keeps_bits():
    """Six layers whose outputs are rounded: the mask cannot be read off what the next layer keeps."""
    x = jnp.ones((8, 32, 32, 64))
    w = jnp.ones((64, 64))

    def temporary_bytes(f):
        def loss(w, x):
            for _ in range(6):
                x = f(x @ w)
                x = x + jax.lax.stop_gradient(jnp.round(x) - x)
            return x.sum()

        return jax.jit(jax.grad(loss)).lower(w, x).compile().memory_analysis().temp_size_in_bytes

    assert temporary_bytes(relu) < 0.75 * temporary_bytes(jax.nn.relu)
