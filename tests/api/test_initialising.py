"""``init`` gives the variables of the float model's own ``init``, without running the model where it can."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import linger_jax
from linger_jax.api.initialising import float_variables
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
