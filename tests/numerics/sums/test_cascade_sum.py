"""The float32 sum in PyTorch's order, against PyTorch."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from linger_jax.numerics.sums.cascade_sum import cascade_sum


@pytest.mark.parametrize(
    "size", [0, 1, 3, 4, 7, 8, 9, 31, 32, 33, 64, 511, 512, 513, 1000, 8191, 16384 + 37, 70000, 300001]
)
def test_sum_adds_in_pytorch_order(size):
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    x = (np.random.default_rng(size).normal(size=size) ** 2).astype(np.float32)
    assert cascade_sum(jnp.asarray(x)) == torch.from_numpy(x).sum().numpy()


def test_order_of_seven_and_of_nine_elements_by_hand():
    x = np.random.default_rng(0).normal(size=9).astype(np.float32)

    def added(*order: int) -> np.float32:
        total = np.float32(0)
        for index in order:
            total = np.float32(total + x[index])
        return total

    assert cascade_sum(jnp.asarray(x[:7])) == added(0, 4, 5, 6, 1, 2, 3)
    assert cascade_sum(jnp.asarray(x)) == added(8, 0, 1, 2, 3, 4, 5, 6, 7)
