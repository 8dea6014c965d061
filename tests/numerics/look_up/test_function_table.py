"""Tables of results: what is looked up at each scale, and its integers, against the host's own arithmetic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linger_jax.config import RoundMode
from linger_jax.numerics.look_up import function_table, on_grid

EVERY = np.arange(-128, 128)
SILU = function_table(lambda x: x / (1 + np.exp(-x)))


@jax.jit
def looked_up(x, scale, scale_o):
    high, low = SILU.look_up(x, scale)
    return on_grid(high, low, scale_o, 8, RoundMode.floor_add)


@pytest.mark.parametrize("exponent", [0, 4, 7, 23])
@pytest.mark.parametrize("scale_o", [1.0, 32.0, 2.0**23])
def test_a_result_is_the_exact_one_rounded_once_and_saturated(exponent, scale_o):
    x = EVERY / 2.0**exponent
    want = np.clip(np.floor(x / (1 + np.exp(-x)) * scale_o + 0.5), -128, 127)
    got = looked_up(np.float32(x), np.float32(2.0**exponent), np.float32(scale_o))
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(SILU.integers(exponent, scale_o, 8, RoundMode.floor_add), want)


@pytest.mark.parametrize("scale", [0.5, 2.0**24])
def test_a_scale_that_no_quantizer_has_gives_nan(scale):
    assert np.isnan(looked_up(np.float32(EVERY / scale), np.float32(scale), np.float32(1))).all()


def test_nan_is_looked_up_as_nan():
    got = np.asarray(looked_up(np.float32([np.nan, 1.0]), np.float32(1), np.float32(64)))
    assert np.isnan(got[0])
    assert got[1] == np.floor(64 / (1 + np.exp(-1.0)) + 0.5)


def test_what_is_not_finite_is_the_end_of_the_grid_or_zero():
    inverse, root = function_table(lambda x: np.float64(1) / np.where(x == 0, 0.0, x)), function_table(np.sqrt)
    assert inverse.integers(0, 8.0, 8, RoundMode.floor_add)[128] == 127
    assert not root.integers(0, 8.0, 8, RoundMode.floor_add)[:129].any()
    assert np.isfinite(root.high).all()


def test_a_number_is_known_at_which_the_function_is_finite():
    assert function_table(np.sqrt).within == 1.0
    assert function_table(lambda x: np.where(x < -2.0, 1.0, np.inf)).within < -2.0
    assert function_table(lambda x: np.full_like(x, np.inf)).within == 0.0


def test_a_negative_number_below_every_step_is_rounded_down_by_floor():
    table = function_table(lambda x: np.where(x < 0, -1e-42, 1e-42))
    steps = table.integers(0, 2.0**23, 8, RoundMode.floor)
    assert (steps[:128] == -1).all()
    assert not steps[128:].any()
    high, low = jax.jit(table.look_up)(np.float32(EVERY), np.float32(1))
    np.testing.assert_array_equal(on_grid(high, low, jnp.float32(2.0**23), 8, RoundMode.floor), steps)


def test_wide_results_are_what_float32_holds():
    steps = function_table(lambda x: x / 3.0).integers(0, 2.0**23, 32, RoundMode.floor_add)
    want = np.where(
        np.abs(EVERY / 3 * 2.0**23) < 2**23, np.floor(EVERY / 3 * 2.0**23 + 0.5), np.float32(EVERY / 3) * 2.0**23
    )
    np.testing.assert_array_equal(steps, want)


@pytest.mark.parametrize("transform", [jax.vmap, lambda f: jax.jit(jax.vmap(f)), jax.checkpoint])
def test_it_is_the_same_under_transformations(transform):
    x = np.float32(EVERY / 16)
    want = looked_up(x, np.float32(16), np.float32(32))
    rows, scales = np.stack([x, x[::-1]]), np.float32([16, 16])
    function = lambda x, s: looked_up(x, s, np.float32(32))  # noqa: E731
    if transform is jax.checkpoint:
        np.testing.assert_array_equal(transform(function)(x, np.float32(16)), want)
    else:
        np.testing.assert_array_equal(transform(function)(rows, scales), np.stack([want, want[::-1]]))


def test_x64_changes_nothing():
    x = np.float32(EVERY / 16)
    want = np.asarray(looked_up(x, np.float32(16), np.float32(32)))
    with jax.enable_x64(True):
        got = looked_up(x, np.float32(16), np.float32(32))
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, want)
