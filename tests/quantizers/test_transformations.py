"""The same bits under every JAX transformation, with either x64 setting, on one device or two."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from linger_jax.config import QatMethod, QuantMethod, RoundMode
from linger_jax.quantizers import QuantizerKind, QuantizerSpec, clamp_weight_once, initial_state, quantize
from tests.golden import compare
from tests.quantizers import compiled

SPECS = [
    QuantizerSpec(
        kind=QuantizerKind.activation, bits=8, qat_method=method, quant_method=rules, round_mode=RoundMode.floor_add
    )
    for method in QatMethod
    for rules in (QuantMethod.NATIVE, QuantMethod.CUDA_GS)
]
each_spec = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.qat_method}-{spec.quant_method}")
X = np.random.default_rng(0).normal(size=(4, 6, 33)).astype(np.float32) * 3
COTANGENT = np.random.default_rng(1).normal(size=X.shape).astype(np.float32)


def same_tree(got: Any, want: Any) -> None:
    got_leaves, got_form = jax.tree.flatten(got)
    want_leaves, want_form = jax.tree.flatten(want)
    assert got_form == want_form
    for a, b in zip(got_leaves, want_leaves, strict=True):
        assert compare.same_bits("leaf", a, b) == []


def stepped(spec: QuantizerSpec) -> dict[str, jax.Array]:
    """State after one step, so that the moving average is at work."""
    return compiled.train(spec, X * np.float32(0.7), initial_state(spec), COTANGENT)[1]


@each_spec
def test_jit_changes_no_bit(spec):
    state = stepped(spec)
    want = compiled.train(spec, X, state, COTANGENT, clip=8.0)
    got = compiled.train_uncompiled(spec, jnp.asarray(X), state, jnp.asarray(COTANGENT), clip=8.0)
    same_tree(got[:3], want[:3])
    np.testing.assert_allclose(got[3], want[3], rtol=1e-5)


@each_spec
def test_the_x64_flag_changes_no_bit(spec):
    state = stepped(spec)
    want = compiled.train(spec, X, state, COTANGENT)
    with jax.enable_x64(True):
        got = jax.jit(functools.partial(compiled.train_uncompiled, spec))(X, state, COTANGENT)
        same_tree(got, want)


@each_spec
def test_scan_carries_the_state(spec):
    xs = np.stack([X, X * np.float32(2), X * np.float32(0.1)])

    def step(state: Any, x: jax.Array) -> tuple[Any, jax.Array]:
        y, state = quantize(spec, x, state, training=True)
        return state, y

    state, ys = jax.jit(functools.partial(jax.lax.scan, step))(initial_state(spec), xs)
    want_state = initial_state(spec)
    for x, y in zip(xs, ys, strict=True):
        want, want_state, _, _ = compiled.train(spec, x, want_state, COTANGENT)
        same_tree(y, want)
    same_tree(state, want_state)


@each_spec
def test_vmap_runs_one_quantizer_an_example(spec):
    state = jax.tree.map(lambda a: jnp.broadcast_to(a, (4, *a.shape)), stepped(spec))
    got = jax.jit(jax.vmap(lambda x, s: quantize(spec, x, s, training=True)))(X, state)
    for i in range(4):
        want = compiled.train(spec, X[i], stepped(spec), COTANGENT[i])
        same_tree(jax.tree.map(lambda a, i=i: a[i], got), want[:2])


@each_spec
def test_remat_changes_neither_values_nor_gradients(spec):
    state = stepped(spec)

    def loss(x: jax.Array) -> jax.Array:
        return jnp.sum(quantize(spec, jnp.sin(x), state, training=True)[0] * COTANGENT)

    same_tree(jax.jit(jax.grad(jax.checkpoint(loss)))(X), jax.jit(jax.grad(loss))(X))


@each_spec
def test_two_devices_see_the_statistic_of_the_whole_batch(spec):
    """Decision D17."""
    sharding = NamedSharding(Mesh(np.array(jax.devices()[:2]), ("batch",)), PartitionSpec("batch"))
    state = stepped(spec)
    want = compiled.train(spec, X, state, COTANGENT)
    split = [jax.device_put(a, sharding) for a in (X, COTANGENT)]
    got = compiled.train(spec, split[0], state, split[1])
    assert got[0].sharding.is_equivalent_to(sharding, X.ndim)
    same_tree(got[:3], want[:3])
    np.testing.assert_allclose(got[3], want[3], rtol=1e-5)


def test_learning_data_is_the_only_differentiable_entry():
    spec = SPECS[0]
    assert spec.qat_method is QatMethod.TQT

    def loss(entries: Any, x: jax.Array, scale: jax.Array) -> jax.Array:
        y, new = quantize(spec, x, {**initial_state(spec), **entries}, training=True, min_scale=scale)
        return jnp.sum(y) + new["scale"]

    entries = {"learning_data": jnp.full(1, 1.3), "scale": jnp.float32(4)}
    grads, of_limit = jax.grad(loss, argnums=(0, 2))(entries, jnp.asarray(X), jnp.float32(2.0**20))
    assert grads["learning_data"][0] != 0
    assert grads["scale"] == 0
    assert of_limit == 0


def test_one_time_clamp_survives_scan_jit_and_two_devices():
    spec = QuantizerSpec(kind=QuantizerKind.weight, bits=8, clamp_factor=1.0)
    once = jax.jit(functools.partial(clamp_weight_once, spec))
    want, _ = once(X, initial_state(spec))
    got, _ = clamp_weight_once(spec, jnp.asarray(X), initial_state(spec))
    same_tree(got, want)
    sharding = NamedSharding(Mesh(np.array(jax.devices()[:2]), ("batch",)), PartitionSpec("batch"))
    same_tree(once(jax.device_put(X, sharding), initial_state(spec))[0], want)

    def step(carry: Any, _: None) -> tuple[Any, jax.Array]:
        w, state = clamp_weight_once(spec, *carry)
        return (w, state), w

    _, ws = jax.jit(lambda w, s: jax.lax.scan(step, (w, s), None, length=3))(X, initial_state(spec))
    for w in ws:
        same_tree(w, want)
