"""The plan weighs its rows: multiply-accumulates by shape, and the share of them that is quantized."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from tests.models import Mlp, Scanned
from tests.plan.planned import planned

X = jax.ShapeDtypeStruct((2, 4), jnp.float32)
IMAGE = jax.ShapeDtypeStruct((2, 6, 6, 4), jnp.float32)


class OfModule(nn.Module):
    """A model of one function of the module and the input."""

    function: object

    @nn.compact
    def __call__(self, x):
        return self.function(self, x)


def counted(model, x=X, **options):
    macs = planned(model, x, **options).multiply_accumulates
    return macs.total, macs.quantized


def test_dense_layers_count_rows_times_inputs_times_outputs():
    assert counted(Mlp()) == (2 * (4 * 8 + 8 * 3),) * 2


def test_convolutions_count_outputs_times_window_times_inputs_of_a_group():
    assert counted(nn.Conv(8, (3, 3), (2, 2)), IMAGE) == (2 * 3 * 3 * 8 * 9 * 4,) * 2
    assert counted(nn.Conv(8, (3, 1), feature_group_count=4), IMAGE) == (2 * 36 * 8 * 3,) * 2


def test_products_of_two_values_count_and_products_of_parameters_do_not():
    def attention(module, x):
        y = nn.Dense(4, use_bias=False)(x)
        module.param("a", nn.initializers.ones, (4, 4)) @ module.param("b", nn.initializers.ones, (4, 4))
        return y @ y.T

    assert counted(OfModule(attention)) == (2 * 4 * 4 + 2 * 4 * 2,) * 2


def test_loops_count_every_iteration():
    entry, step = 2 * 4 * 4, 2 * 4 * 4
    for remat in (False, True):
        assert counted(Scanned(length=5, remat=remat)) == (entry + 5 * step,) * 2


def test_recurrent_layer_counts_every_step():
    x = jax.ShapeDtypeStruct((2, 5, 4), jnp.float32)
    assert counted(nn.RNN(nn.LSTMCell(3)), x)[0] == 2 * 5 * 4 * (4 * 3 + 3 * 3)


def test_float_parts_lower_the_share():
    class Half(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dense(4, name="quantized")(x)
            return nn.Dense(4, dtype=jnp.bfloat16, name="half")(x)

    plan = planned(Half(), X)
    assert plan.multiply_accumulates.share == 0.5
    assert str(plan).splitlines()[-1].strip() == "32 of 64 multiply-accumulates quantized (50.0 %)"
    assert counted(Mlp(), disable_submodel="first") == (112, 48)


def test_functions_that_stay_whole_count_what_is_inside():
    @jax.custom_jvp
    def product(x):
        return x @ x.T

    product.defjvp(lambda primals, tangents: (product(*primals), tangents[0] @ tangents[0].T))

    def branches(module, x):
        del module
        x = jax.lax.cond(x[0, 0] > 0, lambda x: x @ jnp.ones((4, 4)), lambda x: x, x)
        return nn.Dense(3, name="layer")(product(x))

    assert counted(OfModule(branches)) == (2 * 4 * 4 + 2 * 4 * 2 + 2 * 2 * 3, 2 * 2 * 3)


def test_model_without_products_has_nothing_left_to_quantize():
    assert planned(nn.BatchNorm(use_running_average=True), X).multiply_accumulates.share == 1.0
