"""Forward, state and gradients of training and evaluation against the slow model."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linger_jax.config import ActivationType, Compat, QatMethod, QuantMethod, RoundMode
from linger_jax.errors import ConfigError, LingerError, StateError
from linger_jax.quantizers import QuantizerKind, QuantizerSpec, initial_state, quantize
from tests.golden import compare
from tests.quantizers import compiled, slow_model, strategies

ACTIVATION = QuantizerSpec(kind=QuantizerKind.activation, bits=8)
EXAMPLES = settings(max_examples=100)


def same(got: Any, want: Any, name: str = "y") -> None:
    assert compare.same_bits(name, got, want) == []


def same_state(got: Any, want: Any) -> None:
    assert compare.same_keys("state", got, want) == []
    for key in want:
        same(got[key], want[key], key)


def check_training(spec: QuantizerSpec, x: np.ndarray, state: Any, cotangent: np.ndarray, **options: Any) -> None:
    want = slow_model.train(spec, x, state, cotangent, **options)
    scalars = {k: v if k == "clip" or v is None else np.float32(v) for k, v in options.items()}
    y, new_state, d_x, d_threshold = compiled.train(spec, x, state, cotangent, **scalars)
    same(y, want.y)
    same_state(new_state, want.state)
    same(np.asarray(d_x) + 0.0, want.d_x + np.float32(0), "d x")
    terms = 1 + np.abs(cotangent * np.where(np.isfinite(want.y), np.abs(x) + np.abs(want.y), 0)).sum()
    np.testing.assert_allclose(np.asarray(d_threshold), [want.d_threshold], atol=1e-5 * terms)


@EXAMPLES
@given(
    st.sampled_from(strategies.MOM_SPECS + strategies.TQT_SPECS),
    strategies.tensors,
    strategies.cotangents,
    strategies.thresholds,
)
def test_first_training_step_is_that_of_the_slow_model(spec, x, cotangent, threshold):
    state = slow_model.fresh(spec)
    if "learning_data" in state:
        state["learning_data"] = np.full(1, threshold, np.float32)
    check_training(spec, x, state, cotangent)


@EXAMPLES
@given(
    st.sampled_from(strategies.MOM_SPECS),
    strategies.tensors,
    strategies.cotangents,
    st.floats(2.0**-19, 2.0**30, width=32),
    st.sampled_from([4.0, 4096.0, 2.0**24]),
)
def test_later_mom_step_moves_the_statistic_and_respects_clip_and_min_scale(spec, x, cotangent, running, min_scale):
    moved = {"running_data": np.asarray(np.float32(running)), "is_init": np.array(True)}
    check_training(spec, x, slow_model.fresh(spec) | moved, cotangent, clip=8.0, min_scale=min_scale)


@EXAMPLES
@given(
    st.sampled_from(strategies.TQT_SPECS),
    strategies.tensors,
    strategies.cotangents,
    strategies.thresholds,
    st.sampled_from([4.0, 4096.0, 2.0**24]),
)
def test_threshold_learns_except_at_the_limits_and_under_min_scale(spec, x, cotangent, threshold, min_scale):
    state = slow_model.fresh(spec) | {"learning_data": np.full(1, threshold, np.float32)}
    check_training(spec, x, state, cotangent, clip=8.0, min_scale=min_scale)


@EXAMPLES
@given(st.sampled_from(strategies.BIAS_SPECS), strategies.tensors, strategies.cotangents, strategies.scales)
def test_bias_takes_the_scale_it_is_given(spec, x, cotangent, scale):
    check_training(spec, x, slow_model.fresh(spec), cotangent, given_scale=scale)


@EXAMPLES
@given(
    st.sampled_from(strategies.MOM_SPECS + strategies.TQT_SPECS),
    strategies.tensors,
    strategies.scales,
    st.sampled_from([64.0, 2.0**24]),
)
def test_evaluation_uses_the_stored_scale(spec, x, scale, min_scale):
    state = slow_model.fresh(spec) | {"scale": np.asarray(np.float32(scale))}
    want = slow_model.evaluate(spec, x, state, min_scale)
    y, new_state = compiled.evaluate(spec, x, state, np.float32(min_scale))
    same(y, want.y)
    same_state(new_state, want.state)


@pytest.mark.parametrize("method", QatMethod)
@pytest.mark.parametrize("mode", [RoundMode.floor_add, RoundMode.floor, RoundMode.round])
@pytest.mark.parametrize("bits", [2, 3, 8, 12, 24, 32])
def test_every_magnitude_in_bulk(bits, mode, method):
    """Uniform bit patterns of every magnitude up to 2^30, and values around the ties of every scale."""
    rng = np.random.default_rng(bits)
    patterns = rng.integers(0, 0x4E800000, 100_000, np.uint32) | (rng.integers(0, 2, 100_000, np.uint32) << 31)
    near = (rng.integers(-(2 ** min(bits, 23)), 2 ** min(bits, 23), 100_000) + 0.5) / 2.0 ** rng.integers(0, 23)
    around = near.astype(np.float32).view(np.int32) + rng.integers(-2, 3, near.size, np.int32)
    x = np.concatenate([patterns.view(np.float32), around.view(np.float32)])
    x = x[np.isfinite(x)]
    spec = QuantizerSpec(kind=QuantizerKind.activation, bits=bits, round_mode=mode, qat_method=method)
    check_training(spec, x, slow_model.fresh(spec), rng.normal(size=x.size).astype(np.float32))


def test_output_is_zero_dimensional_for_zero_dimensional_input_under_tqt():
    """The reference returns shape [1] (docs/specification/quantizers.md section 4)."""
    for method in QatMethod:
        spec = QuantizerSpec(kind=QuantizerKind.activation, bits=8, qat_method=method)
        y, _ = quantize(spec, jnp.float32(0.7), initial_state(spec), training=True)
        assert y.shape == ()


def test_zero_results_are_positive_in_every_mode():
    x = np.array([-0.0, -1e-3, -0.2, 0.0], np.float32)
    for mode in (RoundMode.floor_add, RoundMode.round):
        spec = QuantizerSpec(kind=QuantizerKind.activation, bits=4, round_mode=mode)
        y, _ = compiled.evaluate(spec, x, initial_state(spec))
        same(y, np.zeros(4, np.float32))
    spec = QuantizerSpec(kind=QuantizerKind.activation, bits=4, round_mode=RoundMode.floor)
    same(compiled.evaluate(spec, x, initial_state(spec))[0], np.array([0.0, -1.0, -1.0, 0.0], np.float32))


def test_rounding_down_sees_denormals_that_the_hardware_flushes():
    spec = QuantizerSpec(kind=QuantizerKind.activation, bits=8, round_mode=RoundMode.floor)
    x = np.array([-1e-40, 1e-40, -1e-45, -0.0], np.float32)
    same(compiled.evaluate(spec, x, initial_state(spec))[0], np.array([-1, 0, -1, 0], np.float32))
    clipped = compiled.train(spec, x, initial_state(spec), x, given_scale=np.float32(1), clip=8.0)[0]
    same(clipped, np.array([-1, 0, -1, 0], np.float32))


def test_values_on_the_ends_pass_gradient_under_native_and_not_under_the_kernel_rules():
    x = np.array([127 / 64, -128 / 64, 126.6 / 64, 129 / 64, 0.3], np.float32)
    for method, passes in [(QuantMethod.NATIVE, [1, 1, 1, 0, 1]), (QuantMethod.CUDA, [0, 0, 0, 0, 1])]:
        spec = QuantizerSpec(kind=QuantizerKind.activation, bits=8, qat_method=QatMethod.TQT, quant_method=method)
        state = {**initial_state(spec), "learning_data": jnp.ones(1)}
        d_x = compiled.train(spec, x, state, np.ones(5, np.float32))[2]
        np.testing.assert_array_equal(d_x, np.array(passes, np.float32))


def test_values_on_the_clip_bound_pass_gradient():
    x = np.array([8.0, -8.0, 8.5, -9.0, 1.0], np.float32)
    d_x = compiled.train(
        QuantizerSpec(kind=QuantizerKind.activation, bits=16), x, initial_state(ACTIVATION), np.ones(5, np.float32),
        clip=8.0,
    )[2]  # fmt: skip
    np.testing.assert_array_equal(d_x, np.array([0, 1, 0, 0, 1], np.float32))


@pytest.mark.parametrize("method", QatMethod)
@pytest.mark.parametrize("compat", Compat)
def test_a_nan_poisons_mom_for_good_and_under_reference_an_infinity_too(method, compat):
    spec = QuantizerSpec(kind=QuantizerKind.activation, bits=8, qat_method=method, compat=compat)
    for bad in (np.nan, -np.nan, *([np.inf, -np.inf] if compat is Compat.reference else [])):
        state = initial_state(spec)
        x = np.linspace(-1, 1, 4096, dtype=np.float32)
        x[1234] = bad
        y, state, _, _ = compiled.train(spec, x, state, np.ones_like(x))
        assert np.isnan(y[1234])
        assert np.isnan(y).all() == (method is QatMethod.MOM)
        for _ in range(2):
            y, state, _, _ = compiled.train(spec, np.ones_like(x), state, np.ones_like(x))
        assert np.isnan(y).all() == (method is QatMethod.MOM)


@pytest.mark.parametrize("method", QatMethod)
@pytest.mark.parametrize("bad", [np.inf, -np.inf, 3e38, -3.4e38])
def test_infinities_and_the_largest_numbers_saturate(method, bad):
    spec = QuantizerSpec(kind=QuantizerKind.activation, bits=8, qat_method=method)
    x = np.linspace(-1, 1, 4096, dtype=np.float32)
    x[1234] = bad
    end = spec.limits[int(bad > 0)]
    stored = {**initial_state(spec), "scale": jnp.float32(2.0**6)}
    assert compiled.evaluate(spec, x, stored)[0][1234] == end / 2.0**6
    y, state, d_x, d_threshold = compiled.train(spec, x, stored, np.ones_like(x))
    assert y[1234] == end / state["scale"]
    assert d_x[1234] == 0
    assert np.isfinite([np.ravel(entry)[0] for entry in state.values()]).all()
    assert d_threshold is None or np.isfinite(d_threshold).all()
    if method is QatMethod.MOM:
        assert state["scale"] == 1
        assert state["running_data"] == min(abs(np.float32(bad)), np.finfo(np.float32).max)


def test_cuda_evaluates_with_its_kernel_and_leaves_the_scale_and_cuda_gs_evaluates_as_native():
    x = np.array([0.5, 1.5, 2.5, -0.5], np.float32)
    for method, values, stored in [(QuantMethod.CUDA, [1, 2, 3, 0], 0.5), (QuantMethod.CUDA_GS, [0, 2, 2, 0], 1.0)]:
        spec = QuantizerSpec(kind=QuantizerKind.weight, bits=8, quant_method=method)
        same(compiled.evaluate(spec, x, initial_state(spec))[0], np.array(values, np.float32))
        state = {**initial_state(spec), "scale": jnp.float32(0.5)}
        assert compiled.evaluate(spec, x, state)[1]["scale"] == stored


def test_cuda_gs_gives_learning_data_a_gradient_of_its_own_shape():
    """The reference returns a 0-d gradient, which PyTorch refuses (docs/specification/quantizers.md section 8)."""
    spec = QuantizerSpec(
        kind=QuantizerKind.activation, bits=8, qat_method=QatMethod.TQT, quant_method=QuantMethod.CUDA_GS
    )
    x = np.array([0.013, 5.0], np.float32)
    d_threshold = compiled.train(spec, x, initial_state(spec), np.ones(2, np.float32))[3]
    assert d_threshold.shape == (1,)
    assert d_threshold[0] != 0


def test_cuda_gs_clips_a_given_scale_except_under_reference():
    """It is clipped as elsewhere (docs/specification/quantizers.md section 8)."""
    x = np.array([0.3], np.float32)
    for compat, want in [(Compat.chip, 2.0**23), (Compat.reference, 2.0**30)]:
        spec = QuantizerSpec(kind=QuantizerKind.bias, bits=32, quant_method=QuantMethod.CUDA_GS, compat=compat)
        state = compiled.train(spec, x, initial_state(spec), x, given_scale=np.float32(2.0**30))[1]
        assert state["scale"] == want


def test_given_scale_leaves_the_statistics_alone():
    for method in QatMethod:
        spec = QuantizerSpec(kind=QuantizerKind.activation, bits=8, qat_method=method)
        before = initial_state(spec)
        _, after, _, d_threshold = compiled.train(
            spec, np.ones(3, np.float32), before, np.ones(3, np.float32), given_scale=np.float32(128)
        )
        same_state({k: v for k, v in after.items() if k != "scale"}, {k: v for k, v in before.items() if k != "scale"})
        assert after["scale"] == 128
        assert d_threshold[0] == 0


def test_ceil_is_refused_under_chip_and_rounds_half_to_even_under_reference():
    """A configuration error (docs/specification/quantizers.md section 1)."""
    with pytest.raises(ConfigError, match="ceil"):
        QuantizerSpec(kind=QuantizerKind.activation, bits=8, round_mode=RoundMode.ceil)
    spec = QuantizerSpec(kind=QuantizerKind.activation, bits=8, round_mode=RoundMode.ceil, compat=Compat.reference)
    x = np.array([0.5, 1.5, 0.2], np.float32)
    same(compiled.evaluate(spec, x, initial_state(spec))[0], np.array([0, 2, 0], np.float32))


def test_empty_tensor_is_refused_where_a_statistic_is_needed():
    """A clear error (docs/specification/quantizers.md section 3.1)."""
    empty = jnp.zeros((0, 3), jnp.float32)
    with pytest.raises(LingerError, match=r"empty tensor of shape \(0, 3\)"):
        quantize(ACTIVATION, empty, initial_state(ACTIVATION), training=True)
    y, _ = quantize(ACTIVATION, empty, initial_state(ACTIVATION), training=False)
    assert y.shape == (0, 3)


def test_other_dtypes_other_widths_and_foreign_state_are_refused():
    with pytest.raises(LingerError, match="bfloat16"):
        quantize(ACTIVATION, jnp.zeros(3, jnp.bfloat16), initial_state(ACTIVATION), training=True)
    with pytest.raises(ConfigError, match="33 bits"):
        QuantizerSpec(kind=QuantizerKind.activation, bits=33)
    tqt = QuantizerSpec(kind=QuantizerKind.activation, bits=8, qat_method=QatMethod.TQT)
    with pytest.raises(StateError, match="learning_data"):
        quantize(tqt, jnp.zeros(3), initial_state(ACTIVATION), training=True)


def test_compile_triton_and_onnx_compute_as_native():
    """ONNX by docs/decisions.md D12."""
    x = np.linspace(-3, 3, 50, dtype=np.float32)
    results = []
    for method in (QuantMethod.NATIVE, QuantMethod.COMPILE, QuantMethod.TRITON, QuantMethod.ONNX):
        spec = QuantizerSpec(kind=QuantizerKind.weight, bits=8, quant_method=method)
        results.append(compiled.train(spec, x, initial_state(spec), x)[0])
    for other in results[1:]:
        same(results[0], other)


def test_initial_state_is_that_of_the_specification():
    for kind in QuantizerKind:
        for method in QatMethod:
            spec = QuantizerSpec(kind=kind, bits=8, qat_method=method, activation_type=ActivationType.none)
            same_state(initial_state(spec), slow_model.fresh(spec))
