"""Maximum and sum of rows of any length."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from linger_jax.numerics import int64
from linger_jax.numerics.chip_kernels.row_reductions import row_maximum, row_sum

LENGTHS = pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 33, 64, 197, 256, 257, 263, 1000, 4096])


@jax.jit
def both(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    with int64.region():
        return row_maximum(x), row_sum(x)


@LENGTHS
def test_rows_of_any_length(n):
    x = np.random.default_rng(n).integers(0, 2**24, (3, n)).astype(np.int32)
    x[0] = 2**24 - 1
    x[1, n // 2] = 2**24 - 1
    largest, total = both(x)
    np.testing.assert_array_equal(largest, x.max(axis=-1, keepdims=True))
    assert total.dtype == jnp.int64
    np.testing.assert_array_equal(total, x.astype(np.int64).sum(axis=-1, keepdims=True))


@LENGTHS
def test_every_place_of_a_row_can_hold_the_maximum(n):
    x = np.full((n, n), -(2**31), np.int32)
    np.fill_diagonal(x, -(2**31) + np.arange(1, n + 1))
    np.testing.assert_array_equal(jax.jit(row_maximum)(x)[:, 0], np.diagonal(x))


def test_rows_over_two_devices():
    x = np.random.default_rng(0).integers(0, 2**24, (4, 1024)).astype(np.int32)
    sharding = NamedSharding(Mesh(np.array(jax.devices()[:2]), ("row",)), PartitionSpec(None, "row"))
    largest, total = both(jax.device_put(x, sharding))
    np.testing.assert_array_equal(largest, x.max(axis=-1, keepdims=True))
    np.testing.assert_array_equal(total, x.astype(np.int64).sum(axis=-1, keepdims=True))
