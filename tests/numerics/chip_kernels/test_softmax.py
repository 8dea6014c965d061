"""Softmax against its definition in Python integers (docs/specification/chip_kernels.md sections 7 and 8)."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linger_jax.config import Platform
from linger_jax.numerics import chip_kernels, int64
from linger_jax.numerics.chip_kernels.softmax import differences, exponentials
from linger_jax.targets import Softmax
from tests.numerics.chip_kernels import integer_model as model
from tests.numerics.chip_kernels.kernel_inputs import INT32_MAX, INT32_MIN, rows_of_every_kind

EACH_PLATFORM = pytest.mark.parametrize("platform", list(model.OWNER))
ONE = 2**15


def softmax_kernel(platform: Platform) -> Softmax:
    return chip_kernels.kernels_of(platform, "softmax").softmax


@functools.partial(jax.jit, static_argnums=1)
def run(x: jax.Array, platform: Platform) -> jax.Array:
    return chip_kernels.softmax(x, platform)


@EACH_PLATFORM
@pytest.mark.parametrize("n", [1, 2, 3, 5, 16, 33])
def test_rows_of_every_kind_equal_their_definition(platform, n):
    x = rows_of_every_kind(n)
    got = run(x, platform)
    assert got.dtype == jnp.int32
    np.testing.assert_array_equal(got, model.softmax(x, platform).astype(np.int64))


@EACH_PLATFORM
def test_sums_beyond_int32_saturate(platform):
    """300 equal elements sum to about 2^31.2."""
    x = np.stack([np.zeros(300, np.int32), np.arange(300, dtype=np.int32) << 10])
    np.testing.assert_array_equal(run(x, platform), model.softmax(x, platform).astype(np.int64))


@EACH_PLATFORM
@settings(max_examples=60)
@given(rows=st.lists(st.lists(st.integers(INT32_MIN, INT32_MAX), min_size=4, max_size=4), min_size=8, max_size=8))
def test_any_four_integers(platform, rows):
    x = np.array(rows, np.int32)
    np.testing.assert_array_equal(run(x, platform), model.softmax(x, platform).astype(np.int64))


@EACH_PLATFORM
def test_every_difference_of_a_16_bit_grid(platform):
    """One row a difference, so that its power of two is seen next to the largest element's; steps of 2^-9."""
    d = np.arange(0, 2**16, 3, dtype=np.int64)
    x = np.stack([np.zeros_like(d), -np.minimum(d << 16, 2**31)], axis=-1).astype(np.int32)
    np.testing.assert_array_equal(run(x, platform), model.softmax(x, platform).astype(np.int64))


@EACH_PLATFORM
def test_a_row_of_one_element_is_one_above_int16(platform):
    np.testing.assert_array_equal(run(np.array([[0], [5], [INT32_MIN]], np.int32), platform), [[ONE]] * 3)


@EACH_PLATFORM
def test_smallest_integers_only_are_ties(platform):
    """venusA moves a maximum of -2^31 up by one; the difference of -1 rounds to nothing."""
    row = np.full((1, 4), INT32_MIN, np.int32)
    np.testing.assert_array_equal(run(row, platform), [[ONE // 4] * 4])
    moved = -1 if platform is Platform.venusA else 0
    np.testing.assert_array_equal(differences(jnp.asarray(row), softmax_kernel(platform)), [[moved] * 4])


@pytest.mark.parametrize(
    ("platform", "largest"), [(Platform.venus, 0.95), (Platform.arcs, 0.95), (Platform.venusA, 0.57)]
)
def test_results_keep_the_published_distance_from_the_real_function(platform, largest):
    x = np.random.default_rng(7).integers(-(2**27), 2**27, (400, 256)).astype(np.int32)
    real = np.exp((x - x.max(axis=-1, keepdims=True).astype(np.int64)) / 2.0**25)
    got = np.asarray(run(x, platform))
    off = np.abs(got - ONE * real / real.sum(axis=-1, keepdims=True)).max()
    assert 0.5 < off < largest
    assert np.abs(got.sum(axis=-1) - ONE).max() < 30


def test_venus_rounds_products_beyond_53_bits_as_integers():
    """The only products that float64 rounds up to the middle of two exponents; their powers agree all the same.

    Source: docs/codes.md K3.
    """
    log2e = model.table("softmax")["log2e_q29"]
    below_the_middle = [(2**30 - r) // 2 for r in range(2, 32, 2)]
    d = np.array([v * pow(log2e // 2, -1, 2**30) % 2**30 - 2**30 for v in below_the_middle], object)
    exponents = model.rs(d * log2e, 31)
    in_float64 = np.floor((d * log2e).astype(np.float64) * 2.0**-31 + 0.5).astype(np.int64).astype(object)
    assert (exponents != in_float64).any()
    wanted = model.powers(exponents, Platform.venus)
    np.testing.assert_array_equal(wanted, model.powers(in_float64, Platform.venus))
    with int64.region():
        got = exponentials(jnp.asarray(d.astype(np.int64)), softmax_kernel(Platform.venus))
    np.testing.assert_array_equal(got, wanted.astype(np.int64))
