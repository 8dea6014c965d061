"""Calibration under ``chip``: clamp, statistic by name, state.

Source: docs/specification/config.md section 4.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from linger_jax.config import ActivationType, Compat, QatMethod
from linger_jax.errors import CalibrationError, LingerError
from linger_jax.quantizers import (
    CalibrationResult,
    QuantizerKind,
    QuantizerSpec,
    abs_max,
    calibrate,
    calibrate_methods,
    has_non_finite,
    initial_state,
    nothing_seen,
    quantize,
    register_calibrate_method,
    top_10,
    w_like,
)

f32 = np.float32
X = (np.random.default_rng(0).normal(size=(5, 9)) * 2).astype(f32)


def spec_of(kind: QuantizerKind = QuantizerKind.activation, **fields: object) -> QuantizerSpec:
    return QuantizerSpec(**{"kind": kind, "bits": 8, "qat_method": QatMethod.TQT, **fields})


def log2(v: float) -> np.float32:
    return f32(np.log2(np.float64(v)))


def tenth(x: np.ndarray) -> np.float32:
    return np.sort(np.abs(x).ravel())[-10]


@pytest.mark.parametrize(("name", "statistic"), [("abs_max", np.abs(X).max()), ("top_10", tenth(X))])
def test_tqt_stores_the_logarithm_and_the_scale_that_follows_from_it(name, statistic):
    """Wanted: the scale is written, so that evaluation directly after calibration means something."""
    spec = spec_of(calibrate_name=name)
    y, state = jax.jit(lambda x: calibrate(spec, x, initial_state(spec)))(X)
    np.testing.assert_array_equal(y, X)
    np.testing.assert_array_equal(state["learning_data"], [log2(statistic)])
    assert state["is_calibrate"]
    assert state["scale"] == 2.0 ** np.rint(f32(7) - log2(statistic))
    _, trained = quantize(spec, X, state, training=True)
    assert trained["scale"] == state["scale"]


@pytest.mark.parametrize(("name", "statistic"), [("abs_max", np.abs(X).max()), ("top_10", tenth(X))])
def test_mom_starts_from_the_statistic(name, statistic):
    """Wanted: the reference fails under MOM."""
    spec = spec_of(qat_method=QatMethod.MOM, calibrate_name=name)
    y, state = calibrate(spec, jnp.asarray(X), initial_state(spec))
    np.testing.assert_array_equal(y, X)
    assert state["running_data"] == statistic
    assert state["is_init"]
    assert state["scale"] == 2.0 ** np.rint(f32(7) - log2(statistic))
    _, trained = quantize(spec, jnp.asarray(X), state, training=True)
    want = f32(f32(f32(0.9) * f32(statistic)) + f32(f32(0.1) * np.abs(X).max()))
    assert trained["running_data"] == want


def test_mom_under_reference_is_refused_as_the_reference_fails():
    spec = spec_of(qat_method=QatMethod.MOM, compat=Compat.reference)
    with pytest.raises(CalibrationError, match="MOM"):
        calibrate(spec, jnp.asarray(X), initial_state(spec))


@pytest.mark.parametrize("name", ["abs_max", "top_10"])
def test_reference_leaves_the_scale(name):
    spec = spec_of(calibrate_name=name, compat=Compat.reference)
    assert calibrate(spec, jnp.asarray(X), initial_state(spec))[1]["scale"] == 1


@pytest.mark.parametrize("method", QatMethod)
def test_top_10_has_a_floor(method):
    """Wanted: with fewer than ten non-zero values the reference takes the logarithm of 0."""
    x = np.zeros(40, f32)
    x[3] = 5
    spec = spec_of(calibrate_name="top_10", qat_method=method)
    _, state = calibrate(spec, jnp.asarray(x), initial_state(spec))
    if method is QatMethod.TQT:
        np.testing.assert_array_equal(state["learning_data"], [log2(f32(1e-6))])
    else:
        assert state["running_data"] == f32(1e-6)
    assert state["scale"] == 2.0**23
    y, _ = quantize(spec, jnp.asarray(x), state, training=True)
    assert np.isfinite(y).all()
    reference = spec_of(calibrate_name="top_10", compat=Compat.reference)
    assert calibrate(reference, jnp.asarray(x), initial_state(reference))[1]["learning_data"][0] == -np.inf


def test_top_10_needs_more_than_eleven_elements():
    for size, want in [(11, 10.0), (12, 2.0)]:
        x = jnp.arange(size, dtype=jnp.float32)
        spec = spec_of(calibrate_name="top_10")
        assert calibrate(spec, x, initial_state(spec))[1]["learning_data"][0] == log2(want)


@given(hnp.arrays(f32, 12, elements=st.floats(-1e9, 1e9, width=32, allow_subnormal=False) | st.sampled_from([0, 3])))
def test_top_10_is_the_tenth_of_the_sorted_magnitudes(x):
    found = top_10(spec_of(compat=Compat.reference), jnp.asarray(x), 8).statistic
    assert found == np.sort(np.abs(x))[-10]


def w_like_by_hand(t: np.ndarray, bits: int) -> int:
    errors = []
    for i in range(-10, 10):
        q = np.clip(np.rint(t / 2.0**i), -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) * 2.0**i
        errors.append(f32(np.linalg.norm(t - q)))
    return int(np.argmin(errors)) - 10


@pytest.mark.parametrize("bits", [4, 8, 16])
@pytest.mark.parametrize("method", QatMethod)
def test_w_like_finds_the_step_with_the_least_error(bits, method):
    """Wanted: runs anywhere."""
    for magnitude in (0.01, 1.0, 300.0):
        x = X * f32(magnitude)
        best = w_like_by_hand(x, bits)
        spec = spec_of(QuantizerKind.weight, bits=bits, calibrate_name="w_like", qat_method=method)
        _, state = jax.jit(lambda x, spec=spec: calibrate(spec, x, initial_state(spec)))(x)
        assert state["scale"] == 2.0**-best
        if method is QatMethod.TQT:
            assert state["learning_data"][0] == best + bits - 1
        else:
            assert state["running_data"] == 2.0 ** (best + bits - 1)


def test_w_like_takes_the_first_of_equal_errors():
    spec = spec_of(QuantizerKind.weight, calibrate_name="w_like")
    _, state = calibrate(spec, jnp.zeros(20), initial_state(spec))
    assert state["learning_data"][0] == -10 + 7


def test_relu_counts_positive_values_only():
    x = jnp.array([-9.0, 0.5, 2.0])
    spec = spec_of(activation_type=ActivationType.Relu)
    y, state = calibrate(spec, x, initial_state(spec))
    np.testing.assert_array_equal(y, x)
    assert state["learning_data"][0] == 1


@pytest.mark.parametrize("kind", [QuantizerKind.activation, QuantizerKind.bias])
def test_static_clamp_comes_before_the_statistic(kind):
    spec = spec_of(kind, clamp_value=4.0)
    y, state = calibrate(spec, jnp.array([9.0, -20.0, 1.0]), initial_state(spec))
    np.testing.assert_array_equal(y, [4.0, -4.0, 1.0])
    assert state["learning_data"][0] == 2


def test_weights_are_clamped_by_their_factor():
    spec = spec_of(QuantizerKind.weight, clamp_factor=2.0, clamp_value=0.1)
    y, state = calibrate(spec, jnp.array([1.0, -1.0, 0.0, 6.0]), initial_state(spec))
    np.testing.assert_array_equal(y, [1.0, -1.0, 0.0, 4.0])
    assert state["learning_data"][0] == 2


def test_a_weight_clamped_at_adoption_is_not_clamped_again_under_mom():
    """The flag says so (docs/decisions.md D24)."""
    spec = spec_of(QuantizerKind.weight, qat_method=QatMethod.MOM, clamp_factor=2.0)
    w = jnp.array([1.0, -1.0, 0.0, 6.0])
    once, state = calibrate(spec, w, initial_state(spec))
    np.testing.assert_array_equal(once, [1.0, -1.0, 0.0, 4.0])
    assert state["is_init_mom_clamp_weight"]
    again, _ = calibrate(spec, once, state)
    np.testing.assert_array_equal(again, once)


@pytest.mark.parametrize("method", QatMethod)
def test_several_batches_join_by_the_larger_statistic(method):
    """Any number of batches (docs/decisions.md D7)."""
    spec = spec_of(qat_method=method)
    entry = "learning_data" if method is QatMethod.TQT else "running_data"
    step = jax.jit(lambda x, state: calibrate(spec, x, state)[1])
    state = {**initial_state(spec), **nothing_seen(spec)}
    seen = []
    for largest in (0.5, 16.0, 2.0):
        state = step(np.array([largest, -0.1], f32), state)
        seen.append(float(np.asarray(state[entry]).reshape(())))
    assert seen == ([-1.0, 4.0, 4.0] if method is QatMethod.TQT else [0.5, 16.0, 16.0])
    assert state["scale"] == 8
    replaced = calibrate(spec, jnp.array([0.5]), {**state, **nothing_seen(spec)})[1]
    assert replaced["scale"] == 256


def test_several_batches_clamp_a_weight_once():
    spec = spec_of(QuantizerKind.weight, clamp_factor=2.0)
    w, state = calibrate(spec, jnp.array([1.0, -1.0, 0.0, 6.0]), {**initial_state(spec), **nothing_seen(spec)})
    again, _ = calibrate(spec, w, state)
    np.testing.assert_array_equal(again, w)


def test_min_scale_limits_the_stored_scale():
    spec = spec_of()
    state = calibrate(spec, jnp.array([0.5]), initial_state(spec), min_scale=jnp.float32(16))[1]
    assert state["scale"] == 16


@pytest.mark.parametrize("method", QatMethod)
@pytest.mark.parametrize(("given", "stored"), [(512.0, 512.0), (0.25, 1.0), (2.0**30, 2.0**23)])
def test_a_bias_stores_the_scale_it_is_given(method, given, stored):
    """Wanted: input scale * weight scale, once both are known."""
    spec = spec_of(QuantizerKind.bias, bits=32, qat_method=method)
    state = calibrate(spec, jnp.array([0.5]), initial_state(spec), given_scale=jnp.float32(given))[1]
    assert state["scale"] == stored
    assert calibrate(spec, jnp.array([0.5]), initial_state(spec))[1]["scale"] == 1


def test_unknown_method_names_the_known_ones():
    """Wanted: the reference fails with "not callable"."""
    spec = spec_of(calibrate_name="median")
    with pytest.raises(LingerError, match=r"'median'.*abs_max.*top_10.*w_like"):
        calibrate(spec, jnp.ones(3), initial_state(spec))


def test_a_registered_function_sets_threshold_or_scale():
    def half(quantizer: QuantizerSpec, t: jax.Array, bits: int) -> CalibrationResult:
        return CalibrationResult(learning_data=jnp.log2(jnp.max(t) / jnp.float32(2)).reshape(1))

    def fixed(quantizer: QuantizerSpec, t: jax.Array, bits: int) -> CalibrationResult:
        return CalibrationResult(scale=jnp.float32(32))

    def silent(quantizer: QuantizerSpec, t: jax.Array, bits: int) -> CalibrationResult:
        return CalibrationResult()

    for name, function in (("test_half", half), ("test_fixed", fixed), ("test_silent", silent)):
        register_calibrate_method(name, function)
        register_calibrate_method(name, function)
    x = jnp.array([8.0, 1.0])
    mom = spec_of(calibrate_name="test_half", qat_method=QatMethod.MOM)
    state = calibrate(mom, x, initial_state(mom))[1]
    assert state["running_data"] == 4
    assert state["scale"] == 32
    for method in QatMethod:
        spec = spec_of(calibrate_name="test_fixed", qat_method=method)
        state = calibrate(spec, x, initial_state(spec))[1]
        assert state["scale"] == 32
        assert state.get("learning_data", f32([2.1]))[0] == f32(2.1)
        assert not state.get("is_init", False)
    with pytest.raises(CalibrationError, match="test_silent"):
        calibrate(spec_of(calibrate_name="test_silent"), x, initial_state(spec_of()))
    with pytest.raises(CalibrationError, match="already registered"):
        register_calibrate_method("test_half", fixed)
    assert calibrate_methods()["test_half"] is half
    with pytest.raises(TypeError):
        calibrate_methods()["abs_max"] = half  # type: ignore[index]


def test_the_built_in_functions_are_registered():
    methods = calibrate_methods()
    assert (methods["abs_max"], methods["top_10"], methods["w_like"]) == (abs_max, top_10, w_like)


def test_empty_and_foreign_tensors_are_refused():
    with pytest.raises(LingerError, match="empty"):
        calibrate(spec_of(), jnp.zeros((0, 2)), initial_state(spec_of()))
    with pytest.raises(LingerError, match="int32"):
        calibrate(spec_of(), jnp.ones(3, jnp.int32), initial_state(spec_of()))


@pytest.mark.parametrize("size", [1, 5000])
def test_non_finite_data_is_seen(size):
    x = np.zeros(size, f32)
    assert not has_non_finite(jnp.asarray(x))
    for bad in (np.nan, np.inf, -np.inf):
        x[size // 2] = bad
        assert jax.jit(has_non_finite)(x)


def test_state_keeps_its_form():
    for kind in QuantizerKind:
        for method in QatMethod:
            spec = spec_of(kind, qat_method=method)
            for before in (initial_state(spec), {**initial_state(spec), **nothing_seen(spec)}):
                after = calibrate(spec, jnp.asarray(X), before)[1]
                assert jax.tree.map(lambda a: (a.shape, a.dtype), after) == jax.tree.map(
                    lambda a: (a.shape, a.dtype), before
                )
