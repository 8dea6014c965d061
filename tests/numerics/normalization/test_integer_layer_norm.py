"""The integer LayerNorm against plain Python integers (docs/specification/layers.md section 6)."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linger_jax.errors import PlatformLimitError
from linger_jax.numerics.normalization.integer_layer_norm import EXECUTOR_ROWS, KERNEL_ROWS, check_length, normalize


def plain(row, scale, arithmetic=KERNEL_ROWS):
    """Steps 2 to 5 on one row of Python integers; the executor shifts five places more."""
    n = len(row)
    total, squares = sum(row), sum(v * v for v in row)
    v = np.float32(1e-5) * np.float32(scale) * np.float32(scale)
    v = np.float32(np.float32(v * np.float32(n)) * np.float32(n))
    d = n * squares - total * total + math.floor(np.float32(v + np.float32(0.5)))
    k, r = 0, 32767
    if d:
        k = (d.bit_length() - 1) // 2
        m = d >> (2 * k - 8) if k >= 4 else d << (8 - 2 * k)
        r = min(32767, math.isqrt(2**38 // m))
    k += 15 - arithmetic.fraction_bits
    results = []
    for x in row:
        p = (n * x - total) * r
        if k:
            p >>= k - 1
            p = (p >> 1) + (p & 1)
        results.append(min(max(p, -(2**31)), 2**31 - 1))
    return results


def rows_of(bits, count):
    """Random rows of many deviations, and the corners: constant, one outlier, halves at both ends."""
    random = np.random.default_rng(count)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    rows = [np.clip(np.rint(random.normal(0, 2.0**s, count)), low, high) for s in (-2, -1, *range(0, bits, 2))]
    rows += [np.full(count, v) for v in (0, low, high)]
    outlier = np.full(count, high)
    outlier[0] = low
    halves = np.where(np.arange(count) < count // 2, low, high)
    near = np.zeros(count)
    near[-1] = 1
    return np.stack([*rows, outlier, -outlier - 1, halves, near]).astype(np.float32)


SIZES = [(8, 1), (8, 4), (8, 256), (8, 257), (8, 259), (8, 1000), (16, 3), (16, 192), (16, 1025), (16, 32767), (4, 64)]


@pytest.mark.parametrize(("bits", "count"), SIZES)
def test_every_width_and_length_gives_the_integers_of_the_specification(bits, count):
    rows = rows_of(bits, count)
    compiled = jax.jit(lambda x, scale: normalize(x, scale, 1, bits).steps)
    for scale in (1.0, 2.0**6, 2.0**23 if count < 25000 else 2.0**12):
        got = compiled(jnp.asarray(rows), jnp.float32(scale))
        assert got.dtype == jnp.int32
        np.testing.assert_array_equal(got, [plain(row, scale) for row in rows.astype(int).tolist()])


@pytest.mark.parametrize(("bits", "count"), [(8, 1), (8, 3), (8, 64), (8, 361), (4, 64), (10, 80)])
def test_the_executor_answers_with_ten_fraction_bits(bits, count):
    rows = rows_of(bits, count)
    for scale in (1.0, 2.0**6, 2.0**10):
        got = normalize(jnp.asarray(rows), jnp.float32(scale), 1, bits, EXECUTOR_ROWS).steps
        np.testing.assert_array_equal(got, [plain(row, scale, EXECUTOR_ROWS) for row in rows.astype(int).tolist()])


def test_rows_of_the_executor_stay_within_its_sums_of_32_bits():
    """docs/specification/executor.md section 3: 361 values of 8 bits always fit."""
    assert EXECUTOR_ROWS.longest(8) == 361
    assert EXECUTOR_ROWS.longest(16) == 0


def test_the_same_bits_without_jit_and_with_x64():
    rows, scale = jnp.asarray(rows_of(8, 300)), jnp.float32(32)
    compiled = jax.jit(lambda x: normalize(x, scale, 1, 8).steps)(rows)
    np.testing.assert_array_equal(normalize(rows, scale, 1, 8).steps, compiled)
    with jax.enable_x64(True):
        wide = normalize(rows, scale, 1, 8)
    assert (wide.steps.dtype, wide.mean.dtype) == (jnp.int32, jnp.float32)
    np.testing.assert_array_equal(wide.steps, compiled)


def test_several_axes_are_one_row():
    x = jnp.asarray(rows_of(8, 24))
    flat = normalize(x, jnp.float32(8), 1, 8)
    square = normalize(x.reshape(-1, 4, 6), jnp.float32(8), 2, 8)
    np.testing.assert_array_equal(square.steps.reshape(x.shape), flat.steps)


def test_mean_and_deviation_are_those_of_the_real_numbers():
    x, scale = rows_of(16, 50), 2.0**9
    got = normalize(jnp.asarray(x), jnp.float32(scale), 1, 16)
    real = x.astype(np.float64) / scale
    np.testing.assert_allclose(got.mean[:, 0], real.mean(-1), rtol=1e-6)
    np.testing.assert_allclose(got.reciprocal_deviation[:, 0], 1 / np.sqrt(real.var(-1) + 1e-5), rtol=1e-5)


def test_rows_whose_radicand_would_pass_60_bits_are_refused():
    """docs/specification/layers.md section 6: beyond, the reference reads outside its table."""
    check_length("norm", 32767, 16)
    with pytest.raises(PlatformLimitError, match=r"layer 'norm'.*32768 values of 16 bits.*at most 32767.*fewer"):
        check_length("norm", 32768, 16)
    check_length("norm", 2**23 - 1, 8)
    with pytest.raises(PlatformLimitError):
        check_length("norm", 2**23, 8)
