"""64-bit integer arithmetic against Python integers (docs/specification/chip_kernels.md section 1)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from linger_jax.numerics import int64

INT64 = st.integers(-(2**63), 2**63 - 1)
FEW = st.lists(INT64, min_size=8, max_size=8)
EDGES = [0, 1, -1, -3, 2**62, -(2**62), 2**63 - 1, -(2**63)]


def rs(v: int, s: int) -> int:
    if s >= 64:
        return 0
    return v << -s if s <= 0 else (v + 2 ** (s - 1)) >> s


def wrapped(v: int) -> int:
    return (v + 2**63) % 2**64 - 2**63


def int64_array(values: list[int]) -> jax.Array:
    return jnp.asarray(np.array(values, np.int64))


@pytest.mark.parametrize("shift", [-63, -5, -1, 0, 1, 2, 15, 31, 32, 62, 63, 64, 65, 200])
def test_static_and_traced_round_shifts_equal_their_definition(shift):
    values = [*EDGES, *(2 ** max(min(shift, 62), 1) // 2 + e for e in (-1, 0, 1)), 123456789012345678]
    want = [wrapped(rs(v, shift)) for v in values]
    with int64.region():
        np.testing.assert_array_equal(int64.round_shift(int64_array(values), shift), want)
        np.testing.assert_array_equal(int64.round_shift(int64_array(values), jnp.int32(shift)), want)


@settings(max_examples=100)
@given(FEW, st.lists(st.integers(-63, 80), min_size=8, max_size=8))
@example(EDGES, [1] * 8)
def test_round_shift_of_any_value_by_any_traced_shift(values, shifts):
    with int64.region():
        got = int64.round_shift(int64_array(values), jnp.asarray(np.array(shifts, np.int32)))
    np.testing.assert_array_equal(got, [wrapped(rs(v, s)) for v, s in zip(values, shifts, strict=True)])


@settings(max_examples=100)
@given(st.lists(st.integers(-(2**62) + 1, 2**62 - 1), min_size=8, max_size=8), st.integers(1, 80))
def test_round_shift_with_room(values, shift):
    want = [rs(v, min(shift, 62)) for v in values]
    with int64.region():
        np.testing.assert_array_equal(int64.round_shift_with_room(int64_array(values), shift), want)
        np.testing.assert_array_equal(int64.round_shift_with_room(int64_array(values), jnp.int64(shift)), want)


@settings(max_examples=100)
@given(FEW, st.integers(0, 80))
def test_floor_shift(values, shift):
    want = [v >> shift for v in values]
    with int64.region():
        np.testing.assert_array_equal(int64.floor_shift(int64_array(values), shift), want)
        np.testing.assert_array_equal(int64.floor_shift(int64_array(values), jnp.int32(shift)), want)


@settings(max_examples=100)
@given(FEW, st.integers(2, 63))
@example(EDGES, 32)
def test_saturation(values, bits):
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    with int64.region():
        np.testing.assert_array_equal(
            int64.saturate(int64_array(values), bits), [min(max(v, low), high) for v in values]
        )
        narrow = int64.narrow(int64_array(values))
    assert narrow.dtype == jnp.int32
    np.testing.assert_array_equal(narrow, [min(max(v, -(2**31)), 2**31 - 1) for v in values])


@settings(max_examples=100)
@given(FEW)
@example([2**24 + 1, 2**24 + 3, -(2**24) - 1, 2**62 + 2**38, 2**62 + 2**38 + 1, 2**63 - 1, -(2**63), 0])
def test_float32_of_a_wide_integer_is_rounded_once_to_even(values):
    with int64.region():
        got = jax.jit(int64.to_float32)(int64_array(values))
    assert got.dtype == jnp.float32
    np.testing.assert_array_equal(got, [np.float32(float_nearest(v)) for v in values])


def float_nearest(v: int) -> float:
    """v rounded to 24 significant bits, ties to even, with integers only."""
    drop = max(abs(v).bit_length() - 24, 0)
    whole, rest = divmod(abs(v), 2**drop)
    up = 2 * rest > 2**drop or (2 * rest == 2**drop and whole % 2 == 1 and drop > 0)
    return float((whole + up) * 2**drop * (1 if v >= 0 else -1))
