"""``init`` gives the variables of the float model's own ``init``, without running the model where it can."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linger_jax
from linger_jax.api.initialising import float_variables
from linger_jax.errors import LingerError
from tests.interpret.steps import same_bits

X = np.float32([[1.0, -2.0, 3.0], [0.5, 4.0, -1.0]])
KEY = jax.random.key(3)


def test_variables_are_the_models_own_and_the_model_does_not_run():
    ran = []

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            x = nn.BatchNorm(use_running_average=not train)(nn.Dense(4)(x))
            jax.debug.callback(ran.append, x)
            return nn.Dense(2)(x)

    found = float_variables(Model(), KEY, (X,), {"train": True}, None)
    jax.effects_barrier()
    assert not ran
    same_bits(found, Model().init(KEY, X, train=True))


def test_variables_that_depend_on_values_are_those_of_the_values():
    class Centred(nn.Module):
        @nn.compact
        def __call__(self, x):
            mean = self.param("mean", lambda key: jnp.mean(x, 0, keepdims=True))
            return nn.Dense(2)(x - mean)

    class Choosing(nn.Module):
        @nn.compact
        def __call__(self, x):
            width = 5 if self.is_initializing() and jnp.any(x > 3) else 2
            self.param("chosen", lambda key: jnp.zeros(width))
            return nn.Dense(2)(x)

    same_bits(float_variables(Centred(), KEY, (X,), {}, None), Centred().init(KEY, X))
    assert float_variables(Choosing(), KEY, (X,), {}, None)["params"]["chosen"].shape == (5,)
    np.testing.assert_array_equal(linger_jax.init(Centred()).init(KEY, X)["params"]["mean"], X.mean(0, keepdims=True))


class Scale(nn.Module):
    @nn.compact
    def __call__(self, x):
        return x / self.param("scale", lambda key: jnp.std(x))


class Shift(nn.Module):
    """The variable is made in ``setup``, its value is decided by the first call."""

    def setup(self):
        self.dense = nn.Dense(3)
        self.shift = self.variable("stats", "shift", lambda: jnp.zeros((1, 3)))

    def __call__(self, x):
        y = self.dense(x)
        if self.is_initializing():
            self.shift.value = jnp.mean(y, 0, keepdims=True)
        return y - self.shift.value


class Below(nn.Module):
    """The values that decide went through other layers and a scan first."""

    @nn.compact
    def __call__(self, x, *, gain):
        class Step(nn.Module):
            @nn.compact
            def __call__(self, x, _):
                return nn.relu(nn.Dense(3)(x)), None

        x, _ = nn.scan(Step, variable_axes={"params": 0}, split_rngs={"params": True}, length=2)()(x, None)
        return Scale()(nn.Dense(4)(x) * gain)


class Noisy(nn.Module):
    """A call that draws random numbers in ``init``, one of which becomes a variable."""

    @nn.compact
    def __call__(self, x):
        noise = self.param("noise", lambda key: jax.random.normal(self.make_rng("noise"), (1, 3)))
        return nn.Dropout(0.5, deterministic=False)(nn.Dense(3)(x)) + noise


@pytest.mark.parametrize("wrap", [lambda m: m, nn.remat, nn.jit], ids=["plain", "remat", "jit"])
@pytest.mark.parametrize("module", [Scale, Shift])
def test_values_decide_wherever_the_variable_is_made(module, wrap):
    same_bits(float_variables(wrap(module)(), KEY, (X,), {}, None), wrap(module)().init(KEY, X))


def test_values_that_went_through_layers_and_keywords_decide():
    gain = jnp.float32(3.0)
    found = float_variables(Below(), KEY, (X,), {"gain": gain}, None)
    same_bits(found, Below().init(KEY, X, gain=gain))
    assert found["params"]["Scale_0"]["scale"] > 0


def test_random_numbers_of_init_are_the_models_own():
    rngs = {"params": KEY, "noise": jax.random.key(5), "dropout": jax.random.key(6)}
    same_bits(float_variables(Noisy(), rngs, (X,), {}, None), Noisy().init(rngs, X))


def test_a_number_that_python_computes_stays_one():
    class Counting(nn.Module):
        @nn.compact
        def __call__(self, x):
            self.variable("count", "calls", lambda: 0)
            return nn.Dense(2)(x)

    assert type(float_variables(Counting(), KEY, (X,), {}, None)["count"]["calls"]) is int


def test_shapes_do_where_values_do_not_count():
    class Plain(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.BatchNorm(use_running_average=True)(nn.Dense(2)(x))

    shape = jax.ShapeDtypeStruct(X.shape, X.dtype)
    same_bits(float_variables(Plain(), KEY, (shape,), {}, None), Plain().init(KEY, X))
    with pytest.raises(LingerError, match=r"Scale: .* depends on the values .*\[0\]\[0\].* pass arrays"):
        float_variables(Scale(), KEY, (shape,), {}, None)
