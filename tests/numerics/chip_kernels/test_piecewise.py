"""Sigmoid, tanh, gelu and swish against their definitions in Python integers.

Source: docs/specification/chip_kernels.md sections 2 to 6.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linger_jax.config import Platform
from linger_jax.errors import LingerError, PlatformLimitError
from linger_jax.numerics import chip_kernels, int64
from tests.numerics.chip_kernels import integer_model as model
from tests.numerics.chip_kernels.kernel_inputs import EVERY_16_BIT, INT32_MIN, band_edges, dense

PLATFORMS = list(model.OWNER)
EACH_PLATFORM = pytest.mark.parametrize("platform", PLATFORMS)
EACH_CURVE = pytest.mark.parametrize("curve", ["sigmoid", "tanh"])
EACH_GATED = pytest.mark.parametrize("kernel", ["gelu", "swish"])


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def run(kernel: str, platform: Platform, fraction_bits: int | None, x: jax.Array) -> jax.Array:
    more = () if fraction_bits is None else (fraction_bits,)
    return getattr(chip_kernels, kernel)(x, platform, *more)


def by_hand(curve: str, x: np.ndarray, platform: Platform) -> np.ndarray:
    return model.sigmoid_raw(x, platform) if curve == "sigmoid" else model.tanh_raw(x, platform)


def inputs(curve: str, platform: Platform) -> np.ndarray:
    """All 16-bit integers, as they are and spread over int32; edges; values of every magnitude."""
    spread = (EVERY_16_BIT.astype(np.int64) << 16).astype(np.int32)
    return np.concatenate([EVERY_16_BIT, spread, band_edges(f"{curve}_{model.OWNER[platform]}"), dense(1)])


@EACH_CURVE
@EACH_PLATFORM
def test_curves_equal_their_definition_for_all_16_bit_inputs_and_densely_over_int32(curve, platform):
    x = inputs(curve, platform)
    raw = by_hand(curve, x, platform)
    with int64.region():
        got = np.asarray(run(f"raw_{curve}", platform, None, x))
    assert got.dtype == np.int64
    np.testing.assert_array_equal(got, raw.astype(np.int64))
    for fraction_bits in (15,) if platform is Platform.venus else (7, 15, 31):
        got = run(curve, platform, fraction_bits, x)
        assert got.dtype == jnp.int32
        np.testing.assert_array_equal(got, model.requantized(raw, platform, fraction_bits).astype(np.int64))


@EACH_CURVE
@pytest.mark.parametrize("fraction_bits", [1, 3, 11, 23, 24, 30])
def test_curves_answer_with_any_number_of_fraction_bits(curve, fraction_bits):
    for platform in (Platform.arcs, Platform.venusA):
        x = np.concatenate([band_edges(f"{curve}_{platform}"), dense(2, 2000)])
        want = model.requantized(by_hand(curve, x, platform), platform, fraction_bits)
        np.testing.assert_array_equal(run(curve, platform, fraction_bits, x), want.astype(np.int64))


@EACH_GATED
def test_gelu_and_swish_equal_their_definition(kernel):
    spread = (EVERY_16_BIT.astype(np.int64) << 16).astype(np.int32)
    x = np.concatenate([EVERY_16_BIT, spread, band_edges(f"{kernel}_venusA"), dense(3)])
    got = run(kernel, Platform.venusA, None, x)
    assert got.dtype == jnp.int32
    np.testing.assert_array_equal(got, model.gated(x, kernel).astype(np.int64))


def test_zero_and_the_smallest_input_of_gelu_and_swish():
    x = np.array([0, INT32_MIN], np.int32)
    np.testing.assert_array_equal(chip_kernels.gelu(jnp.asarray(x), Platform.venusA), [-86064, -22920])
    np.testing.assert_array_equal(chip_kernels.swish(jnp.asarray(x), Platform.venusA), [-147248, -56416])


ERRORS = [
    ("sigmoid", Platform.venus, 6.3e-4),
    ("tanh", Platform.venus, 1.32e-3),
    ("sigmoid", Platform.arcs, 5.65e-4),
    ("sigmoid", Platform.venusA, 5.65e-4),
    ("tanh", Platform.arcs, 1.27e-3),
    ("tanh", Platform.venusA, 1.27e-3),
]


@pytest.mark.parametrize(("curve", "platform", "largest"), ERRORS)
def test_curves_keep_the_published_distance_from_the_real_functions(curve, platform, largest):
    if platform is Platform.venus:
        x, fraction_bits = EVERY_16_BIT, 15
    else:
        x, fraction_bits = np.linspace(-(2**30), 2**30, 200_001).astype(np.int32), 31
    real = x / 2.0 ** chip_kernels.input_fraction_bits(platform)
    want = 1 / (1 + np.exp(-real)) if curve == "sigmoid" else np.tanh(real)
    off = np.abs(np.asarray(run(curve, platform, fraction_bits, x)) / 2.0**fraction_bits - want).max()
    assert 0.97 * largest < off < 1.005 * largest


@pytest.mark.parametrize(("kernel", "largest"), [("gelu", 1.10e-3), ("swish", 1.16e-3)])
def test_gelu_and_swish_keep_the_published_distance_from_the_real_functions(kernel, largest):
    x = np.linspace(-(2**30), 2**30, 200_001).astype(np.int32)
    real = x / 2.0**27
    function = functools.partial(jax.nn.gelu, approximate=False) if kernel == "gelu" else jax.nn.silu
    off = np.abs(np.asarray(run(kernel, Platform.venusA, None, x)) / 2.0**27 - np.asarray(function(jnp.asarray(real))))
    assert 0.97 * largest < off.max() < 1.005 * largest


@EACH_CURVE
@pytest.mark.parametrize("platform", [Platform.arcs, Platform.venusA])
def test_curves_of_arcs_and_venus_a_are_monotone_to_23_bits(curve, platform):
    """Where segments meet the raw curve steps back by up to nine steps of Q31, which no tensor operator's bits show."""
    x = np.sort(inputs(curve, platform))
    assert (np.diff(run(curve, platform, 23, x)) >= 0).all()
    assert -9 <= np.diff(np.asarray(run(curve, platform, 31, x)).astype(np.int64)).min() < 0


def test_tanh_of_venus_a_is_odd_and_that_of_arcs_floors_to_one_side():
    x = np.abs(np.append(dense(4), 5)).astype(np.int32)
    for platform, least in ((Platform.venusA, 0), (Platform.arcs, -1)):
        with int64.region():
            both = np.asarray(run("raw_tanh", platform, None, x)) + np.asarray(run("raw_tanh", platform, None, -x))
        assert set(np.unique(both)) == set(range(least, 1))


@EACH_CURVE
def test_venus_answers_zero_beyond_its_input_range(curve):
    """The kernel itself returns 0 beyond 16 bits, INT_MIN included (docs/codes.md K1)."""
    x = np.array([2**15 + 1, 17 * 2**11, -(2**15) - 1, 2**31 - 1, INT32_MIN], np.int32)
    np.testing.assert_array_equal(run(curve, Platform.venus, 15, x), np.zeros(5))


@EACH_CURVE
def test_saturation_before_venus_gives_the_end_of_the_curve(curve):
    """Inputs beyond 16 bits answer as the ends of the 16-bit range (docs/codes.md K1)."""
    x = jnp.array([17 * 2**11, 2**31 - 1, -17 * 2**11, INT32_MIN, 5, -5], jnp.int32)
    ends = np.array([2**15 - 1, 2**15 - 1, -(2**15), -(2**15), 5, -5], np.int32)
    got = run(curve, Platform.venus, 15, chip_kernels.saturated_to(x, 16))
    np.testing.assert_array_equal(got, by_hand(curve, ends, Platform.venus).astype(np.int64))
    assert int(got[0]) > 0.99 * 2**15


def test_gelu_of_sixteen_saturates_or_wraps():
    """16 in Q27 is 2^31. Saturated, gelu(16) is about 16; wrapped as the reference does, it is about 0.

    Source: docs/codes.md K2.
    """
    v = jnp.float32(16.0 * 2**27)
    wanted = chip_kernels.gelu(chip_kernels.saturated_int32(v), Platform.venusA)
    reference = chip_kernels.gelu(chip_kernels.wrapped_int32(v), Platform.venusA)
    assert abs(float(wanted) / 2**27 - 16) < 1e-3
    assert float(reference) / 2**27 == pytest.approx(-1.7e-4, rel=0.02)


def test_floats_that_int32_cannot_hold_saturate_or_wrap():
    largest_below = np.float32(2**31 - 128)
    v = np.array([0, -7, largest_below, 2.0**31, -(2.0**31), -(2.0**31) - 256, np.inf, -np.inf, np.nan], np.float32)
    fits = [0, -7, 2**31 - 128]
    low, high = INT32_MIN, 2**31 - 1
    saturated = jax.jit(chip_kernels.saturated_int32)(v)
    np.testing.assert_array_equal(saturated, [*fits, high, low, low, high, low, 0])
    np.testing.assert_array_equal(jax.jit(chip_kernels.wrapped_int32)(v), [*fits, *[low] * 6])


def test_formats_of_input_and_result():
    assert [chip_kernels.input_fraction_bits(p) for p in PLATFORMS] == [11, 27, 27, 27]
    assert [chip_kernels.result_fraction_bits(p, 8) for p in PLATFORMS] == [15, 7, 7, 7]


def test_jupiter_has_no_kernels():
    x = jnp.zeros(3, jnp.int32)
    calls = [
        lambda: chip_kernels.sigmoid(x, Platform.jupiter, 7),
        lambda: chip_kernels.tanh(x, Platform.jupiter, 7),
        lambda: chip_kernels.softmax(x, Platform.jupiter),
        lambda: chip_kernels.input_fraction_bits(Platform.jupiter),
        lambda: chip_kernels.result_fraction_bits(Platform.jupiter, 8),
    ]
    for call in calls:
        with pytest.raises(
            PlatformLimitError, match=r"jupiter has no integer kernel for .*one of venus, mars, arcs, venusA"
        ):
            call()


@EACH_GATED
@pytest.mark.parametrize("platform", [p for p in Platform if p is not Platform.venusA])
def test_gelu_and_swish_are_refused_elsewhere(kernel, platform):
    with pytest.raises(PlatformLimitError, match=f"{platform} has no integer kernel for {kernel}: only venusA"):
        getattr(chip_kernels, kernel)(jnp.zeros(3, jnp.int32), platform)


@EACH_CURVE
@pytest.mark.parametrize(("platform", "bits"), [(Platform.venus, 7), (Platform.arcs, 0), (Platform.venusA, 32)])
def test_fraction_bits_that_a_platform_lacks_are_refused(curve, platform, bits):
    with pytest.raises(LingerError, match=f"not (in Q|with ){bits}"):
        getattr(chip_kernels, curve)(jnp.zeros(3, jnp.int32), platform, bits)
