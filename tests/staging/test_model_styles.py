"""Whatever style a model is written in, its layers are markers with the path the user sees."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linger_jax.compat import equations
from tests.models import Mlp, ResidualCnn, SetupMlp, Shared, drawn, random_array
from tests.staging.staging_run import layer_names, layers, run_staged, scopes, staged_call

X = random_array(0, 2, 4)
IMAGE = random_array(1, 2, 8, 8, 4)


class Nested(nn.Module):
    @nn.compact
    def __call__(self, x):
        return Mlp(name="tail")(Mlp(hidden=5, classes=4, name="head")(x))


class DictOfLayers(nn.Module):
    def setup(self):
        self.layers = {"a": nn.Dense(4), "b": nn.Dense(4)}
        self.pairs = [(nn.Dense(4), nn.Dense(4))]

    def __call__(self, x):
        for layer in (self.layers["b"], self.layers["a"], *self.pairs[0]):
            x = layer(x)
        return x


class SharedBySetup(nn.Module):
    def setup(self):
        self.table = nn.Embed(5, 4)
        self.first = Mlp(classes=4)
        self.second = self.first

    def __call__(self, tokens):
        return self.second(self.first(self.table(tokens)))


MODELS = {
    "compact": (Mlp(), X, ["dense:first", "dense:second"]),
    "setup with a list": (SetupMlp(), X, ["dense:layers_0", "dense:layers_1"]),
    "nested": (Nested(), X, ["dense:head.first", "dense:head.second", "dense:tail.first", "dense:tail.second"]),
    "one instance called twice": (Shared(), X, ["dense:dense", "dense:dense"]),
    "Sequential": (
        nn.Sequential([nn.Dense(4), nn.relu, nn.Sequential([nn.Dense(2)])]),
        X,
        ["dense:layers_0", "dense:layers_2.layers_0"],
    ),
    "dictionary and tuples of layers": (
        DictOfLayers(),
        X,
        ["dense:layers_b", "dense:layers_a", "dense:pairs_0_0", "dense:pairs_0_1"],
    ),
    "a layer as the root": (nn.Dense(3), X, ["dense:<root>"]),
    "shared in setup": (
        SharedBySetup(),
        jnp.array([[0, 4]]),
        ["embed:table", "dense:first.first", "dense:first.second", "dense:first.first", "dense:first.second"],
    ),
    "residual network": (
        ResidualCnn(blocks=1),
        IMAGE,
        ["conv:stem", "conv:block_0.conv", "batch_norm:block_0.norm", "dropout:Dropout_0", "dense:head"],
    ),
}
CASES = pytest.mark.parametrize(("model", "x", "names"), MODELS.values(), ids=MODELS.keys())


@CASES
def test_layers_are_marked_in_order_under_their_module_path(model, x, names):
    staged, _ = staged_call(model, drawn(model, x), x)
    assert layer_names(staged) == names


@pytest.mark.model
@CASES
def test_staged_jaxpr_is_the_float_model_bit_for_bit(model, x, names):
    variables = drawn(model, x)
    staged, arrays = staged_call(model, variables, x)
    output, updates = run_staged(staged, variables, arrays)
    np.testing.assert_array_equal(output, model.apply(variables, x))
    assert updates == {}


@pytest.mark.model
@CASES
def test_staged_jaxpr_is_the_float_model_under_jit(model, x, names):
    variables = drawn(model, x)
    staged, arrays = staged_call(model, variables, x)
    output, _ = jax.jit(lambda v, a: run_staged(staged, v, a))(variables, arrays)
    np.testing.assert_allclose(output, model.apply(variables, x), rtol=1e-5, atol=1e-6)


@pytest.mark.model
def test_gradients_of_the_staged_jaxpr_are_the_float_model_s():
    model = ResidualCnn()
    variables = drawn(model, IMAGE)
    staged, arrays = staged_call(model, variables, IMAGE)
    ours = jax.grad(lambda v: jnp.sum(jnp.square(run_staged(staged, v, arrays)[0])))(variables)
    wanted = jax.grad(lambda v: jnp.sum(jnp.square(model.apply(v, IMAGE))))(variables)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), ours, wanted)


def test_modules_that_are_not_layers_open_a_scope_around_their_operators():
    model = Nested()
    staged, _ = staged_call(model, drawn(model, X), X)
    assert scopes(staged) == ["", "head", "tail"]


def test_scope_closes_when_a_module_raises_and_the_model_goes_on():
    class Fallible(nn.Module):
        @nn.compact
        def __call__(self, x):
            nn.Dense(2, name="before")(x)
            raise KeyError

    class Catching(nn.Module):
        @nn.compact
        def __call__(self, x):
            try:
                return Fallible(name="inner")(x)
            except KeyError:
                return nn.Dense(2, name="after")(x)

    model = Catching()
    staged, _ = staged_call(model, drawn(model, X), X)
    opened = [e.params["enter"] for e in equations(staged.jaxpr) if e.primitive.name == "linger_scope"]
    assert opened == [True, True, False, False]
    assert layer_names(staged) == ["dense:inner.before", "dense:after"]


def test_operands_and_results_of_a_layer_are_named_by_role():
    model = nn.BatchNorm(use_running_average=False)
    staged, _ = staged_call(model, drawn(model, X), X, mutable=["batch_stats"])
    (info,) = layers(staged)
    assert info.operands == (
        ("input", "0"),
        ("batch_stats", "mean"),
        ("batch_stats", "var"),
        ("params", "bias"),
        ("params", "scale"),
    )
    assert info.results == (("output", "0"), ("batch_stats", "mean"), ("batch_stats", "var"))
    assert info.attributes == {"training": True, "momentum": 0.99, "epsilon": 1e-5}


def test_inputs_of_the_jaxpr_are_named_as_the_user_writes_them():
    class Masked(nn.Module):
        @nn.compact
        def __call__(self, pair, *, mask):
            return nn.Dense(2, name="d")(pair["x"]) * mask

    model = Masked()
    variables = drawn(model, {"x": X}, mask=np.ones((2, 1), np.float32))
    staged, _ = staged_call(model, variables, {"x": X}, mask=np.ones((2, 1), np.float32))
    assert staged.variables == (("params", "d", "bias"), ("params", "d", "kernel"))
    assert staged.arguments == ("args[0]['x']", "kwargs['mask']")


def test_shapes_alone_are_enough_to_stage():
    model = ResidualCnn(blocks=1)
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros(IMAGE.shape)))
    staged, _ = staged_call(model, variables, jax.ShapeDtypeStruct(IMAGE.shape, IMAGE.dtype))
    assert layer_names(staged)[0] == "conv:stem"
    assert staged.jaxpr.out_avals[0].shape == (2, 3)
