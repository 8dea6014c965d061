"""Channel sums in PyTorch's order, against PyTorch."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linger_jax.numerics.sums.channel_cascade import channel_mean, channel_variance

SHAPES = [(8, 5), (40, 1), (40, 7), (20, 11), (70, 33), (4, 6, 3), (16, 64, 1), (3, 5, 5, 4), (40, 3, 3, 2)]


@pytest.mark.parametrize("shape", SHAPES)
def test_moments_have_pytorchs_bits(shape):
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    x = np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)
    channels_first = torch.from_numpy(np.moveaxis(x, -1, 1).copy())
    axes = tuple(a for a in range(x.ndim) if a != 1)
    np.testing.assert_array_equal(jax.jit(channel_mean)(jnp.asarray(x)), channels_first.mean(axes).numpy())
    wanted = channels_first.var(axes, unbiased=False).numpy()
    np.testing.assert_allclose(jax.jit(channel_variance)(jnp.asarray(x)), wanted, rtol=1.2e-7)
