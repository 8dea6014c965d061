"""Gradients of a quantized embedding (docs/specification/layers.md section 7) under ``chip``."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from tests.interpret.steps import TQT
from tests.models import prepared

TOKENS = jnp.array([[0, 3, 3], [3, 1, 0]])


def slopes(config):
    qmodel, variables = prepared(nn.Embed(5, 2), TOKENS, config=config)
    variables["params"]["embedding"] = jnp.linspace(-0.9, 0.9, 10).reshape(5, 2)  # none saturates
    weights = jnp.arange(12.0).reshape(2, 3, 2)

    def loss(params):
        y = qmodel.apply({**variables, "params": params}, TOKENS, mutable=["quant"])[0]
        return jnp.sum(y * weights)

    return jax.jit(jax.grad(loss))(variables["params"]), variables


def test_a_row_adds_up_the_gradients_of_its_uses():
    found, _ = slopes(None)
    np.testing.assert_array_equal(
        found["embedding"], [[0 + 10, 1 + 11], [8, 9], [0, 0], [2 + 4 + 6, 3 + 5 + 7], [0, 0]]
    )


def test_a_row_that_is_not_used_moves_no_threshold():
    found, variables = slopes(TQT)
    table = np.asarray(variables["params"]["embedding"])
    scale = 2.0 ** np.rint(7 - 2.1)
    steps = np.clip(np.rint(table * scale), -128, 127) / scale
    inside = np.abs(np.rint(table * scale)) < 128
    g = np.float32([[10, 12], [8, 9], [0, 0], [12, 15], [0, 0]])
    wanted = -np.log(2.0) * np.sum(g * np.where(inside, table - steps, -steps))
    np.testing.assert_allclose(found["weight_quantizer"]["learning_data"], [wanted], rtol=1e-4, atol=1e-6)
