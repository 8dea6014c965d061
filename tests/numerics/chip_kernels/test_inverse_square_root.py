"""The inverse square root of LayerNorm against its definition in Python integers.

Source: docs/specification/layers.md section 6.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from linger_jax.numerics import chip_kernels, int64
from tests.numerics.chip_kernels import integer_model as model

LARGEST = 2**60
normalized = jax.jit(chip_kernels.normalized)
inverse_square_root = jax.jit(chip_kernels.inverse_square_root)


def denominators() -> list[int]:
    """Small ones, powers of two and their neighbours, mantissa edges, random ones of every width."""
    rng = np.random.default_rng(5)
    chosen = {*range(2100), LARGEST}
    chosen |= {2**k + e for k in range(2, 60) for e in (-1, 0, 1)}
    chosen |= {(m << s) + e for m in (256, 257, 511, 512, 513, 1022, 1023) for s in range(0, 48, 5) for e in (-1, 0)}
    chosen |= {int(rng.integers(0, 2**w)) for w in range(1, 61) for _ in range(20)}
    return sorted(chosen)


def test_the_table_is_its_formula():
    table = model.table("rsqrt_q15")["table"]
    assert table == [min(32767, math.isqrt(32768**2 * 256 // (256 + i))) for i in range(768)]


def test_square_roots_equal_their_definition():
    chosen = denominators()
    with int64.region():
        r, k = inverse_square_root(np.array(chosen, np.int64))
    np.testing.assert_array_equal(np.stack([r, k], axis=-1), [model.inverse_square_root(d) for d in chosen])


def test_normalized_values_equal_their_definition():
    chosen = denominators()
    rng = np.random.default_rng(6)
    a = (rng.integers(-(2**31), 2**31, len(chosen)) >> rng.integers(0, 31, len(chosen))).astype(np.int32)
    a[:4] = [-(2**31), 2**31 - 1, -1, 0]
    with int64.region():
        got = normalized(a, np.array(chosen, np.int64))
        assert got.dtype == jnp.int32
    want = [model.normalized(int(n), d) for n, d in zip(a, chosen, strict=True)]
    np.testing.assert_array_equal(got, want)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(-(2**31), 2**31 - 1), st.integers(0, LARGEST)), min_size=16, max_size=16))
def test_any_quotient(cases):
    with int64.region():
        got = normalized(np.array([a for a, _ in cases], np.int32), np.array([d for _, d in cases], np.int64))
    np.testing.assert_array_equal(got, [model.normalized(a, d) for a, d in cases])


def test_a_row_shares_its_denominator():
    a = np.arange(-6, 6, dtype=np.int32).reshape(3, 4) * 1000
    d = np.array([[0], [9], [10**12]], np.int64)
    with int64.region():
        got = normalized(a, d)
    np.testing.assert_array_equal(
        got, [[model.normalized(int(v), int(s[0])) for v in r] for r, s in zip(a, d, strict=True)]
    )
