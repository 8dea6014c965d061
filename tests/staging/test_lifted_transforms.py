"""remat, scan, jit and vmap of Flax: markers survive inside them, under the path the user sees."""

from concurrent.futures import ThreadPoolExecutor

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models import Mlp, Residual, Scanned, drawn, random_array
from tests.staging.staging_run import equations, layer_names, layers, run_staged, staged_call

X = random_array(0, 2, 4)


class Twice(nn.Module):
    """Two modules of one transformed class, equal in everything but their names."""

    make: object

    @nn.compact
    def __call__(self, x):
        return self.make(name="b")(self.make(name="a")(x))


class JitMethod(nn.Module):
    @nn.jit
    @nn.compact
    def __call__(self, x):
        return nn.Dense(4)(x)


def jitted_dense(name):
    return nn.jit(nn.Dense)(4, name=name)


def stacked_dense(name):
    return nn.vmap(nn.Dense, variable_axes={"params": 0}, split_rngs={"params": True})(4, name=name)


def broadcast_dense(name):
    return nn.vmap(nn.Dense, variable_axes={"params": None}, split_rngs={"params": False})(4, name=name)


MODELS = {
    "remat of a layer": (Twice(lambda name: nn.remat(nn.Dense)(4, name=name)), ["dense:a", "dense:b"]),
    "remat of a module": (Twice(nn.remat(Residual)), ["dense:a.dense", "dense:b.dense"]),
    "jit of a layer": (Twice(jitted_dense), ["dense:a", "dense:b"]),
    "jit of a module": (Twice(nn.jit(Residual)), ["dense:a.dense", "dense:b.dense"]),
    "jit of a method": (Twice(JitMethod), ["dense:a.Dense_0", "dense:b.Dense_0"]),
    "jit of remat": (Twice(nn.jit(nn.remat(Residual))), ["dense:a.dense", "dense:b.dense"]),
    "scan over stacked parameters": (Scanned(), ["dense:entry", "dense:steps.dense"]),
    "scan with one set of parameters": (Scanned(stacked=False), ["dense:entry", "dense:steps.dense"]),
    "scan of remat": (Scanned(remat=True), ["dense:entry", "dense:steps.dense"]),
    "vmap over parameters": (Twice(stacked_dense), ["dense:a", "dense:b"]),
    "vmap over inputs": (Twice(broadcast_dense), ["dense:a", "dense:b"]),
}


@pytest.mark.model
@pytest.mark.parametrize(("model", "names"), MODELS.values(), ids=MODELS.keys())
def test_layers_inside_a_lifted_transform_keep_their_paths(model, names):
    variables = drawn(model, X)
    staged, arrays = staged_call(model, variables, X)
    assert layer_names(staged) == names
    np.testing.assert_array_equal(run_staged(staged, variables, arrays)[0], model.apply(variables, X))


def test_jitted_module_that_ran_as_float_before_is_staged_anew():
    model = Twice(nn.jit(Residual))
    variables = drawn(model, X)
    jax.make_jaxpr(lambda v: model.apply(v, X, mutable=[]))(variables)
    assert layer_names(staged_call(model, variables, X)[0]) == ["dense:a.dense", "dense:b.dense"]


def test_jitted_module_that_was_staged_before_runs_as_float():
    model = Twice(nn.jit(Residual))
    variables = drawn(model, X)
    staged_call(model, variables, X)
    jaxpr = jax.make_jaxpr(model.apply)(variables, X)
    assert not [e for e in equations(jaxpr) if e.primitive.name.startswith("linger")]


def test_jitted_class_of_another_model_does_not_lend_its_paths():
    jitted = nn.jit(Residual)
    one, other = nn.Sequential([jitted(name="one")]), nn.Sequential([jitted(name="other")])
    for model, path in ((one, "layers_0.dense"), (other, "layers_0.dense"), (Twice(jitted), "a.dense")):
        variables = drawn(model, X)
        assert layers(staged_call(model, variables, X)[0])[0].path == tuple(path.split("."))


def test_layer_mapped_over_its_parameters_is_refused():
    model = stacked_dense(None)
    (info,) = layers(staged_call(model, drawn(model, X), X)[0])
    assert info.refusal == "inside vmap: one call stands for several layers"


def test_layer_mapped_over_its_input_stays_one_layer():
    model = broadcast_dense(None)
    (info,) = layers(staged_call(model, drawn(model, X), X)[0])
    assert (info.kind.name, info.refusal) == ("dense", None)


def test_mapped_batch_norm_is_refused_because_each_slice_has_its_own_statistics():
    x = random_array(1, 3, 2, 4)
    model = nn.vmap(nn.BatchNorm, variable_axes={"params": None, "batch_stats": None}, split_rngs={"params": False})(
        use_running_average=True
    )
    (info,) = layers(staged_call(model, drawn(model, x), x)[0])
    assert info.refusal == "inside vmap: one call stands for several layers"


def test_gradient_inside_the_model_dissolves_the_layer_and_says_so():
    class Slope(nn.Module):
        @nn.compact
        def __call__(self, x):
            dense = nn.Dense(1)
            value, pullback = nn.vjp(lambda module, x: module(x), dense, x)
            return pullback(jnp.ones_like(value))[1]

    model = Slope()
    staged, _ = staged_call(model, drawn(model, X), X)
    lost = [e.params["info"].kind.name for e in equations(staged.jaxpr) if e.primitive.name == "linger_lost_layer"]
    assert lost == ["dense"]


def test_two_threads_stage_the_same_instance():
    model = nn.Sequential([Mlp(classes=4), nn.jit(Residual)()])
    variables = drawn(model, X)

    def names(_):
        return layer_names(staged_call(model, variables, X)[0])

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(names, range(6)))
    assert results == [["dense:layers_0.first", "dense:layers_0.second", "dense:layers_1.dense"]] * 6
