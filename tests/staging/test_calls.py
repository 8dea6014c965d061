"""What a call may look like: methods, keyword and static arguments, pytrees, generators, mutable collections."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core.scope import DenyList

from linger_jax.staging import split_call
from linger_jax.staging.call_arguments import DYNAMIC
from tests.models import Mlp, ResidualCnn, drawn, random_array
from tests.staging.staging_run import layer_names, run_staged, scopes, staged_call

X = random_array(0, 2, 4)
IMAGE = random_array(1, 2, 8, 8, 4)


class Coder(nn.Module):
    def setup(self):
        self.encoder = Mlp()
        self.decoder = Mlp(classes=4)

    def encode(self, x):
        return self.encoder(x) + 1.0

    def decode(self, z):
        return self.decoder(z)

    def __call__(self, x):
        return self.decode(self.encode(x))


@pytest.mark.model
def test_method_other_than_call_is_staged():
    model = Coder()
    variables = drawn(model, X)
    staged, arrays = staged_call(model, variables, X, method="encode")
    assert scopes(staged) == ["encode", "encoder"]
    np.testing.assert_array_equal(
        run_staged(staged, variables, arrays)[0], model.apply(variables, X, method=Coder.encode)
    )


def test_method_given_as_a_function_is_staged():
    model = Coder()
    variables = drawn(model, X)
    staged, _ = staged_call(model, variables, X, method=lambda module, x: module.encoder(x))
    assert layer_names(staged) == ["dense:encoder.first", "dense:encoder.second"]


def test_methods_called_inside_another_open_their_own_scope():
    model = Coder()
    staged, _ = staged_call(model, drawn(model, X), X)
    assert scopes(staged) == ["", "encode", "encoder", "decode", "decoder"]


class Flexible(nn.Module):
    @nn.compact
    def __call__(self, inputs, *, scale, train=False, names=()):
        x = nn.Dense(3)(inputs["a"]) + nn.Dense(3)(inputs["pair"][1])
        x = nn.Dropout(0.5, deterministic=not train)(x) * scale
        return {"x": x, "count": len(names)}


@pytest.mark.model
def test_pytrees_keyword_only_and_static_arguments_stage():
    model = Flexible()
    inputs = {"a": X, "pair": (None, X)}
    variables = drawn(model, inputs, scale=jnp.float32(2.0))
    staged, arrays = staged_call(model, variables, inputs, scale=jnp.float32(2.0), names=("u", "v"))
    assert staged.arguments == ("args[0]['a']", "args[0]['pair'][1]", "kwargs['scale']")
    output, _ = run_staged(staged, variables, arrays)
    wanted = model.apply(variables, inputs, scale=jnp.float32(2.0), names=("u", "v"))
    np.testing.assert_array_equal(output["x"], wanted["x"])
    assert output["count"] == 2


def test_python_values_stay_static_and_arrays_are_traced():
    call, arrays = split_call((X, 2, True, None, "mode"), {"n": np.float32(1.0)}, None, None, ())
    assert call.static == (DYNAMIC, 2, True, "mode", DYNAMIC)
    assert [np.shape(a) for a in arrays] == [(2, 4), ()]
    args, kwargs, rngs = call.merge(arrays)
    assert args[1:] == (2, True, None, "mode")
    assert (kwargs["n"], rngs) == (np.float32(1.0), None)


def test_true_and_one_are_different_calls():
    as_bool, _ = split_call((True,), {}, None, None, ())
    as_int, _ = split_call((1,), {}, None, None, ())
    same, _ = split_call((True,), {}, None, None, ())
    assert as_bool != as_int
    assert (as_bool, hash(as_bool)) == (same, hash(same))


def test_zero_and_minus_zero_are_different_calls():
    assert split_call((0.0,), {}, None, None, ())[0] != split_call((-0.0,), {}, None, None, ())[0]


def test_static_argument_that_cannot_be_hashed_makes_an_unhashable_call():
    @dataclasses.dataclass
    class Options:
        size: int = 2

    call, _ = split_call((Options(),), {}, None, None, ())
    with pytest.raises(TypeError):
        hash(call)


@pytest.mark.model
def test_dropout_draws_the_float_model_s_mask():
    model = ResidualCnn(dropout=0.5)
    variables = drawn(model, IMAGE)
    rngs = {"dropout": jax.random.key(7)}
    staged, arrays = staged_call(model, variables, IMAGE, train=True, rngs=rngs, mutable=["batch_stats"])
    output, updates = run_staged(staged, variables, arrays)
    wanted, wanted_updates = model.apply(variables, IMAGE, train=True, rngs=rngs, mutable=["batch_stats"])
    np.testing.assert_array_equal(output, wanted)
    jax.tree.map(np.testing.assert_array_equal, updates, wanted_updates)
    other, _ = model.apply(variables, IMAGE, train=True, rngs={"dropout": jax.random.key(8)}, mutable=["batch_stats"])
    assert not np.array_equal(output, other)


@pytest.mark.model
def test_two_dropouts_and_a_generator_of_the_model_draw_as_the_float_model():
    class Noisy(nn.Module):
        @nn.compact
        def __call__(self, x):
            drop = nn.Dropout(0.5, deterministic=False)
            x = drop(drop(x))
            x = x + jax.random.normal(self.make_rng("noise"), x.shape)
            return nn.Dropout(0.5, deterministic=False, rng_collection="noise")(x)

    model, rngs = Noisy(), {"dropout": jax.random.key(1), "noise": jax.random.key(2)}
    staged, arrays = staged_call(model, {}, X, rngs=rngs)
    np.testing.assert_array_equal(run_staged(staged, {}, arrays)[0], model.apply({}, X, rngs=rngs))


@pytest.mark.model
def test_one_key_serves_every_generator_as_in_flax():
    model = nn.Dropout(0.5, deterministic=False)
    staged, arrays = staged_call(model, {}, X, rngs=jax.random.key(3))
    np.testing.assert_array_equal(run_staged(staged, {}, arrays)[0], model.apply({}, X, rngs=jax.random.key(3)))


class Watching(nn.Module):
    @nn.compact
    def __call__(self, x):
        count = self.variable("counter", "calls", lambda: jnp.zeros((), jnp.int32))
        if self.is_mutable_collection("counter"):
            count.value = count.value + jnp.int32(1)
        x = nn.Dense(3, name="d")(x)
        self.sow("intermediates", "after_dense", x)
        return x


@pytest.mark.model
@pytest.mark.parametrize("mutable", [("intermediates", "counter"), ("counter",), (), True, DenyList("counter")])
def test_sown_and_written_collections_come_back_as_from_flax(mutable):
    model = Watching()
    variables = drawn(model, X)
    staged, arrays = staged_call(model, variables, X, mutable=mutable)
    output, updates = run_staged(staged, variables, arrays)
    wanted, wanted_updates = model.apply(variables, X, mutable=list(mutable) if isinstance(mutable, tuple) else mutable)
    np.testing.assert_array_equal(output, wanted)
    jax.tree.map(np.testing.assert_array_equal, updates, wanted_updates)


@pytest.mark.model
def test_shared_batch_norm_updates_its_statistics_at_each_call():
    class Double(nn.Module):
        @nn.compact
        def __call__(self, x):
            norm = nn.BatchNorm(use_running_average=False)
            return norm(2 * norm(x))

    model = Double()
    variables = drawn(model, X)
    staged, arrays = staged_call(model, variables, X, mutable=["batch_stats"])
    output, updates = run_staged(staged, variables, arrays)
    wanted, wanted_updates = model.apply(variables, X, mutable=["batch_stats"])
    np.testing.assert_array_equal(output, wanted)
    jax.tree.map(np.testing.assert_array_equal, updates, wanted_updates)


@pytest.mark.model
def test_module_attribute_that_is_an_array_stages_as_a_constant():
    class Shifted(nn.Module):
        shift: jax.Array

        @nn.compact
        def __call__(self, x):
            return nn.Dense(4)(x + self.shift) * self.shift

    model = Shifted(random_array(3, 1, 4))
    variables = drawn(model, X)
    staged, arrays = staged_call(model, variables, X)
    np.testing.assert_array_equal(run_staged(staged, variables, arrays)[0], model.apply(variables, X))


@pytest.mark.model
def test_boxed_parameters_keep_their_path():
    model = nn.Dense(3, kernel_init=nn.with_partitioning(nn.initializers.lecun_normal(), (None, "model")))
    variables = drawn(model, X)
    staged, arrays = staged_call(model, variables, X)
    assert staged.variables == (("params", "bias"), ("params", "kernel"))
    np.testing.assert_array_equal(run_staged(staged, variables, arrays)[0], model.apply(variables, X))
