"""The one-time clamp of weights and the bounds of calibration."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linger_jax.config import Compat, QatMethod
from linger_jax.errors import LingerError, StateError
from linger_jax.quantizers import (
    QuantizerKind,
    QuantizerSpec,
    clamp_bound,
    clamp_weight_once,
    initial_state,
)
from linger_jax.quantizers.weight_clamp import mean_magnitude

W = np.array([0.5, -4.0, 1.0, -0.5, 1e-40, np.nan, 0.0, -0.0], np.float32)


def weight(**fields: object) -> QuantizerSpec:
    return QuantizerSpec(kind=QuantizerKind.weight, bits=8, **fields)


def test_factor_wins_over_the_static_value_for_weights():
    w = jnp.array([1.0, -3.0])
    assert clamp_bound(weight(clamp_factor=1.5, clamp_value=9.0), w) == 3
    assert clamp_bound(weight(clamp_value=9.0), w) == 9
    assert clamp_bound(weight(), w) is None
    bias = QuantizerSpec(kind=QuantizerKind.bias, bits=32, clamp_factor=1.5, clamp_value=9.0)
    assert clamp_bound(bias, w) == 9


def test_clamp_keeps_nan_denormals_and_signed_zeros():
    spec = weight(clamp_value=2.0)
    got = np.asarray(jax.jit(lambda w: clamp_weight_once(spec, w, initial_state(spec))[0])(W))
    want = W.copy()
    want[1] = -2
    np.testing.assert_array_equal(got.view(np.int32), want.view(np.int32))


def test_first_training_step_clamps_and_later_ones_do_not():
    spec = weight(clamp_value=2.0)
    w = jnp.array([0.5, -4.0])
    clamped, state = clamp_weight_once(spec, w, initial_state(spec))
    np.testing.assert_array_equal(clamped, [0.5, -2.0])
    assert state["is_init_mom_clamp_weight"]
    again, state = clamp_weight_once(spec, w, state)
    np.testing.assert_array_equal(again, w)
    assert state["is_init_mom_clamp_weight"]


def test_the_flag_is_set_also_without_a_bound():
    spec = weight()
    w, state = clamp_weight_once(spec, jnp.array([7.0]), initial_state(spec))
    assert w[0] == 7
    assert state["is_init_mom_clamp_weight"]


def test_gradient_of_the_clamp_is_the_identity():
    spec = weight(clamp_factor=0.5)
    grad = jax.grad(lambda w: clamp_weight_once(spec, w, initial_state(spec))[0] @ jnp.array([2.0, 3.0]))
    np.testing.assert_array_equal(grad(jnp.array([1.0, -9.0])), [2.0, 3.0])


@pytest.mark.parametrize(
    "spec",
    [
        weight(qat_method=QatMethod.TQT, clamp_value=1.0),
        QuantizerSpec(kind=QuantizerKind.activation, bits=8, clamp_value=1.0),
        QuantizerSpec(kind=QuantizerKind.bias, bits=32, clamp_value=1.0),
    ],
)
def test_only_mom_weight_quantizers_clamp_in_training(spec):
    w, state = clamp_weight_once(spec, jnp.array([7.0]), initial_state(spec))
    assert w[0] == 7
    assert not state.get("is_init_mom_clamp_weight", False)


def test_mean_magnitude_is_the_exact_mean_rounded_once():
    rng = np.random.default_rng(0)
    for size in (1, 7, 30, 1000, 4097):
        w = (rng.normal(size=size) * np.exp(rng.normal(size=size) * 3)).astype(np.float32)
        want = np.float32(np.abs(w).astype(np.longdouble).sum() / size)
        assert mean_magnitude(jnp.asarray(w)) == want
        assert jax.jit(mean_magnitude)(w) == want
        assert mean_magnitude(jnp.asarray(w[::-1])) == want


def test_mean_magnitude_under_reference_adds_in_pytorch_order():
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    rng = np.random.default_rng(1)
    for shape in [(6, 5), (16, 6), (3, 3, 16, 32), (1001,)]:
        w = rng.normal(size=shape).astype(np.float32)
        want = torch.from_numpy(w).abs().mean().numpy()
        assert mean_magnitude(jnp.asarray(w), Compat.reference) == want


def test_empty_weight_and_missing_flag_are_refused():
    with pytest.raises(LingerError, match="empty tensor"):
        clamp_bound(weight(clamp_factor=7.0), jnp.zeros((0, 2)))
    with pytest.raises(StateError, match="is_init_mom_clamp_weight"):
        clamp_weight_once(weight(), jnp.ones(2), {"scale": jnp.float32(1)})
