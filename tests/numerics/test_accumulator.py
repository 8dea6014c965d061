"""Exact sums and their way to an output's grid, against Python's integers."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linger_jax.config import RoundMode
from linger_jax.numerics import int64
from linger_jax.numerics.accumulator import Accumulator

MODES = st.sampled_from([RoundMode.floor_add, RoundMode.floor, RoundMode.round])
WIDTHS = st.sampled_from([8, 24, 31, 40])


def rounded(value, shift, mode):
    """value / 2^shift as an integer, exactly."""
    if shift <= 0:
        return value << -shift
    down, rest = value >> shift, value & (2**shift - 1)
    half = 2 ** (shift - 1)
    if mode is RoundMode.floor:
        return down
    if mode is RoundMode.round and rest == half:
        return down + (down & 1)
    return down + (rest >= half)


def clipped(value, bits):
    return min(max(value, -(2 ** (bits - 1))), 2 ** (bits - 1) - 1)


def accumulator(values, width):
    return Accumulator.of(np.asarray(values, np.int64), 2 ** (width - 1) - 1)


@st.composite
def sums(draw):
    width = draw(WIDTHS)
    most = 2 ** (width - 1) - 1
    # Values next to ties and limits, and any others.
    near = st.builds(
        lambda k, s, d: clipped((k << s) + d, width), st.integers(-9, 9), st.integers(0, 38), st.integers(-1, 1)
    )
    values = st.lists(st.one_of(near, st.integers(-most, most)), min_size=20, max_size=20)  # one shape: compiled once
    return width, draw(values)


def as_held(v):
    """An integer as float32 holds it, within int32."""
    return min(int(np.float32(v)), 2**31 - 1)


@settings(max_examples=150)
@given(sums(), st.integers(-30, 70), st.sampled_from([4, 8, 16, 24, 32]), MODES, st.booleans())
def test_requantization_rounds_once_and_saturates(numbers, shift, bits, mode, traced):
    width, values = numbers
    given_shift = jnp.int32(shift) if traced else shift
    got = accumulator(values, width).requantized(given_shift, bits, mode)
    assert got.dtype == jnp.int32
    assert got.tolist() == [as_held(clipped(rounded(v, shift, mode), bits)) for v in values]


@settings(max_examples=60)
@given(sums(), st.integers(-23, 50), MODES, st.booleans())
def test_shifts_keep_every_integer(numbers, shift, mode, traced):
    width, values = numbers
    moved = accumulator(values, width).shifted(jnp.int32(shift) if traced else shift, mode)
    with int64.region():
        assert np.asarray(moved.value).tolist() == [rounded(v, shift, mode) for v in values]


def test_the_bound_decides_the_width():
    narrow, wider = accumulator([2**30 - 1], 31), accumulator([1], 32)
    assert narrow.value.dtype == jnp.int32
    assert (narrow + narrow).value.dtype == jnp.int32
    assert (narrow + wider).value.dtype == np.int64
    with int64.region():
        assert np.asarray((narrow + narrow + wider).value).tolist() == [2**31 - 1]
        assert np.asarray((narrow * narrow).value).tolist() == [(2**30 - 1) ** 2]


@pytest.mark.parametrize("x64", [False, True])
def test_results_are_those_of_jit_and_of_any_x64_flag(x64):
    values = np.asarray([-(2**39) + 7, 2**39 - 1, 3 << 20], np.int64)

    def run(shift):
        return Accumulator.of(values, 2**39).requantized(shift, 16, RoundMode.floor_add)

    with jax.enable_x64(x64):
        expected = [clipped(math.floor(int(v) / 2**21 + 0.5), 16) for v in values]
        assert jax.jit(run)(jnp.int32(21)).tolist() == run(21).tolist() == expected
