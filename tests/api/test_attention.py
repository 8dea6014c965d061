"""Flax's attention layers: which parts are quantized, and that masks, dropout and decoding stay what they are."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linger_jax
from tests.interpret.steps import trained
from tests.models import drawn, prepared, random_array

# One over the square root of the depth is a constant that its own quantizer clips.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*the constant:linger_jax.LingerWarning"),
    pytest.mark.filterwarnings("ignore:SelfAttention:DeprecationWarning"),
]

X = random_array(0, 2, 6, 32)
KEYS = {"dropout": jax.random.key(1)}
PARTS = ["query", "key", "value", "qmul_0", "qmatmul_1", "qsoftmax_2", "qmatmul_3", "out"]


def attention(cls=nn.MultiHeadDotProductAttention, **options):
    """Two heads of 16 channels."""
    return cls(num_heads=2, **options)


class Masked(nn.Module):
    """Causal attention."""

    @nn.compact
    def __call__(self, x):
        return attention(name="attention")(x, mask=nn.make_causal_mask(jnp.ones(x.shape[:2])))


class Dropped(nn.Module):
    """Attention with dropout of its weights."""

    broadcast: bool = True

    @nn.compact
    def __call__(self, x, *, train):
        return attention(dropout_rate=0.5, broadcast_dropout=self.broadcast, deterministic=not train, name="attention")(
            x
        )


def near(y, wanted):
    """Eight bits and saturating scales leave less than a quarter of the float result's energy as error."""
    error, whole = np.linalg.norm(np.asarray(y) - np.asarray(wanted)), np.linalg.norm(np.asarray(wanted))
    assert error < 0.25 * whole, error / whole


def step(qmodel):
    return jax.jit(lambda v, x: qmodel.apply(v, x, mutable=["quant"]))


@pytest.mark.parametrize("cls", [nn.MultiHeadDotProductAttention, nn.MultiHeadAttention, nn.SelfAttention])
def test_projections_products_and_softmax_are_quantized(cls):
    model = attention(cls)
    plan = linger_jax.init(model, strict=True).plan(model.init(jax.random.key(0), X), X)
    assert [row.name.removeprefix("_linger_qtensor_") for row in plan.rows()] == PARTS
    assert {row.status for row in plan.rows()} == {"quantized"}


def test_it_computes_about_what_the_float_layer_computes():
    qmodel, variables = prepared(attention(), X)
    y, _ = step(qmodel)(variables, X)
    near(y, attention().apply({"params": variables["params"]}, X))


def test_a_mask_is_listed_and_hides_what_it_hid():
    qmodel, variables = prepared(Masked(), X)
    rows = qmodel.plan(variables, X).rows()
    assert [(row.name, row.op) for row in rows if row.status == "float"] == [("attention", "select_n")]
    y, after = step(qmodel)(variables, X)
    other = X.at[:, 4:].set(-X[:, 4:])
    evaluate = jax.jit(qmodel.apply)
    variables = {**variables, **after}
    np.testing.assert_array_equal(evaluate(variables, X)[:, :4], evaluate(variables, other)[:, :4])
    near(y, Masked().apply({"params": variables["params"]}, X))


@pytest.mark.parametrize("broadcast", [True, False])
def test_dropout_of_the_weights_passes_the_scale_on_and_leaves_no_trace_in_evaluation(broadcast):
    model = Dropped(broadcast)
    qmodel, variables = prepared(model, X, train=True)
    rows = qmodel.plan(variables, X, train=True, rngs=KEYS).rows()
    assert [(row.name, row.op) for row in rows if row.status == "passes"] == [("attention", "dropout")]
    names = [row.name for row in rows if row.status == "quantized"]
    assert names == [row.name for row in qmodel.plan(variables, X, train=False).rows()]
    y, after = trained(qmodel, variables, X, train=True, rngs=KEYS)
    wanted = model.apply({"params": variables["params"]}, X, train=True, rngs=KEYS)
    near(y, wanted)
    evaluated = qmodel.apply(after, X, train=False)
    near(evaluated, model.apply({"params": variables["params"]}, X, train=False))


def test_decoding_step_by_step_keeps_its_cache():
    model = attention(decode=True)
    whole = linger_jax.init(model)
    variables = whole.adopt(drawn(model, X), X[:, :1])
    cached = dict(variables)
    reference = {"params": variables["params"], "cache": variables["cache"]}
    decode = jax.jit(lambda v, x: whole.apply(v, x, mutable=["quant", "cache"]))
    for i in range(3):
        y, changed = decode(cached, X[:, i : i + 1])
        cached |= changed
        wanted, changed = model.apply(reference, X[:, i : i + 1], mutable=["cache"])
        reference |= changed
        near(y, wanted)
    assert int(cached["cache"]["cache_index"]) == 3


def test_a_model_that_samples_with_new_style_keys_is_planned():
    class Sampler(nn.Module):
        @nn.compact
        def __call__(self, x):
            mean, spread = jnp.split(nn.Dense(8, name="layer")(x), 2, -1)
            return nn.Dense(2, name="head")(mean + spread * jax.random.normal(self.make_rng("draw"), mean.shape))

    keys = {"params": jax.random.key(0), "draw": jax.random.key(1)}
    qmodel = linger_jax.init(Sampler())
    rows = qmodel.plan(qmodel.init(keys, X), X, rngs=keys).rows()
    assert [row.status for row in rows] == ["quantized"] * 4
    assert [row.op for row in rows] == ["Dense", "mul", "add", "Dense"]
