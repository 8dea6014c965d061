"""Integer division of average pooling against its algorithms, one Python number at a time.

Source: docs/specification/layers.md section 9.1.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from linger_jax.config import Platform, RoundMode
from linger_jax.errors import LingerError
from linger_jax.numerics.pooling.pool_division import divide
from linger_jax.targets import PoolDivision, target_of

LENGTH = 64


def rounded(v: float) -> int:
    return math.floor(v + 0.5)


def saturate(v: int) -> int:
    return max(-(2**31), min(2**31 - 1, v))


def shift(v: int, h: int, mode: RoundMode) -> int:
    if h <= 0:
        return saturate(v << -h)
    if mode is RoundMode.floor:
        return saturate(v >> h)
    if mode is RoundMode.round:
        whole, rest = divmod(abs(v), 2**h)
        up = 2 * rest > 2**h or (2 * rest == 2**h and whole % 2 == 1)
        return saturate(int(math.copysign(1, v)) * (whole + up))
    w = v >> (h - 1)
    return saturate((w >> 1) + (w & 1))


def newton(f: float, r: float) -> float:
    for _ in range(3):
        t = rounded((2 - r * f) * 2.0**30) / 2.0**30
        r = rounded(r * t * 2.0**29) / 2.0**29
    return r


def divided(n: int, d: int, division: PoolDivision) -> int:
    if division is PoolDivision.half_open_reciprocal:
        left = 31 - math.ceil(math.log2(d + 0.5))
        f = d * 2.0 ** (left - 31)
        r = newton(f, rounded(2.0**29 / max(math.floor(32 * f) / 32, 1e-12)) / 2.0**29)
        return saturate(rounded(r * 2.0 ** (left - 31) * n))
    if division is PoolDivision.closed_reciprocal:
        left = 31 - math.ceil(math.log2(max(d, 1)))
        f = d * 2.0**left / 2.0**31
        r = newton(f, rounded(2.0**29 / max(math.floor(32 * f) / 32, 1 / 32)) / 2.0**29)
        return saturate(math.floor(r * n * 2.0 ** (left - 31) + 0.5))
    if division is PoolDivision.integer_reciprocal:
        left = 30 - math.floor(math.log2(d))
        big = d * 2**left
        r = rounded(2.0**29 / max(math.floor(32 * big / 2.0**31) / 32, 1 / 32))
        for _ in range(3):
            a = int(2.0**61 - float(big) * float(r)) >> 29
            b = rounded(a / 2)
            p = int(float(r) * float(b)) >> 29
            r = rounded(p / 2)
        w = (r * n) >> (29 + (31 - left) - 1)
        return saturate(math.floor(w / 2 + 0.5))
    assert division is PoolDivision.float_division
    return saturate(int(np.floor(np.float32(np.float32(n) / np.float32(d)) + np.float32(0.5))))


def by_hand(n: int, d: int, ss: int, platform: Platform, mode: RoundMode, *, powers: bool) -> int:
    if powers:
        return shift(n, int(math.log2(d)) + ss, mode)
    quotient = divided(n, d, target_of(platform).pool_division)
    return quotient if ss == 0 else shift(quotient, ss, mode)


def test_chips_divide_by_the_algorithms_that_the_specification_gives_them():
    stated = {
        Platform.venus: PoolDivision.half_open_reciprocal,
        Platform.arcs: PoolDivision.closed_reciprocal,
        Platform.venusA: PoolDivision.integer_reciprocal,
        Platform.mars: PoolDivision.integer_reciprocal,
        Platform.jupiter: PoolDivision.float_division,
    }
    assert {platform: target_of(platform).pool_division for platform in stated} == stated


@pytest.mark.parametrize("platform", Platform)
@pytest.mark.parametrize("mode", [RoundMode.floor_add, RoundMode.floor, RoundMode.round])
@pytest.mark.parametrize("ss", [0, 3, -2])
def test_divisions_of_every_platform(platform, mode, ss):
    rng = np.random.default_rng(3)
    for divisors in (np.array([1, 2, 4, 64]), np.array([3, 5, 6, 7, 9, 12, 25, 36, 49, 121, 3136, 16384])):
        d = np.repeat(divisors, 1500)
        wide = rng.integers(-(2**31), 2**31, d.size)
        k = rng.integers(-3000, 3000, d.size)
        n = np.where(rng.random(d.size) < 0.5, wide >> rng.integers(0, 30, d.size), k * d + d // 2)
        n = np.clip(n, -(2**31), 2**31 - 1).astype(np.int32)
        scale_in, scale_out = np.float32(2.0 ** (8 + ss)), np.float32(2.0**8)
        got = jax.jit(lambda n, a, b, d=d: divide(n, d, a, b, platform, mode))(n, scale_in, scale_out)
        powers = bool((divisors & (divisors - 1) == 0).all())
        want = [by_hand(int(a), int(b), ss, platform, mode, powers=powers) for a, b in zip(n, d, strict=True)]
        np.testing.assert_array_equal(got, want)
        few = slice(0, None, 97)
        eager = divide(jnp.asarray(n[few]), d[few], jnp.asarray(scale_in), jnp.asarray(scale_out), platform, mode)
        np.testing.assert_array_equal(eager, np.asarray(got)[few])


@settings(max_examples=100)
@given(st.sampled_from(Platform), st.lists(st.integers(-(2**31), 2**31 - 1), min_size=LENGTH, max_size=LENGTH))
def test_any_sum_divided_by_nine(platform, sums):
    got = nine(np.array(sums, np.int32), platform)
    np.testing.assert_array_equal(got, [divided(n, 9, target_of(platform).pool_division) for n in sums])


def nine(n: np.ndarray, platform: Platform) -> jax.Array:
    return _nine(n, np.float32(1), platform)


_nine = jax.jit(lambda n, s, platform: divide(n, 9, s, s, platform, RoundMode.floor_add), static_argnums=2)


def test_one_odd_divisor_takes_all_positions_off_the_shift():
    n = np.array([3, 3], np.int32)
    one = np.float32(1)
    shifted = divide(jnp.asarray(n), np.array([2, 2]), one, np.float32(4), Platform.venusA, RoundMode.floor_add)
    mixed = divide(jnp.asarray(n), np.array([2, 3]), one, np.float32(4), Platform.venusA, RoundMode.floor_add)
    assert shifted[0] == 6
    assert mixed[0] == 8


def test_divisors_broadcast_over_positions():
    n = np.arange(24, dtype=np.int32).reshape(2, 3, 4)
    d = np.array([[1], [2], [3]])
    one = np.float32(1)
    got = divide(jnp.asarray(n), d, one, one, Platform.jupiter, RoundMode.floor_add)
    np.testing.assert_array_equal(got, np.floor(n / d + 0.5))


def test_scan_vmap_grad_x64_and_two_devices_change_nothing():
    n = np.arange(-40, 40, dtype=np.int32).reshape(4, 20)
    scale = np.float32(16)

    def call(n: jax.Array) -> jax.Array:
        return divide(n, 7, scale, np.float32(32), Platform.arcs, RoundMode.round)

    want = np.asarray(jax.jit(call)(n))
    np.testing.assert_array_equal(jax.jit(jax.vmap(call))(n), want)
    np.testing.assert_array_equal(jax.jit(lambda n: jax.lax.scan(lambda c, v: (c, call(v)), 0, n)[1])(n), want)
    sharding = NamedSharding(Mesh(np.array(jax.devices()[:2]), ("batch",)), PartitionSpec("batch"))
    np.testing.assert_array_equal(jax.jit(call)(jax.device_put(n, sharding)), want)
    with jax.enable_x64(True):
        got = jax.jit(call)(n)
        assert got.dtype == jnp.int32
        np.testing.assert_array_equal(got, want)

    def around(x: jax.Array) -> jax.Array:
        whole = jax.lax.stop_gradient(jnp.round(x)).astype(jnp.int32)
        return jnp.sum(x * jax.lax.stop_gradient(call(whole)).astype(jnp.float32))

    np.testing.assert_array_equal(jax.jit(jax.grad(jax.checkpoint(around)))(n.astype(np.float32)), want)


@pytest.mark.parametrize("divisor", [0, -3, 2**24 + 1, 2.5, np.zeros(0, int)])
def test_divisors_out_of_range_are_refused(divisor):
    with pytest.raises(LingerError, match="integers from 1"):
        divide(jnp.zeros(3, jnp.int32), divisor, np.float32(1), np.float32(1), Platform.venus, RoundMode.floor)


def test_divisors_that_do_not_fit_are_refused():
    with pytest.raises(LingerError, match="do not fit"):
        divide(jnp.zeros(3, jnp.int32), np.ones(2, int), np.float32(1), np.float32(1), Platform.venus, RoundMode.floor)
