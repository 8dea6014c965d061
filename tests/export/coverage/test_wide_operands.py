"""Operands of more than 16 bits: a file computes what evaluation computes, where float32 loses the last bit."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linger_jax
from tests.models import Calls, prepared

SCALE = np.float32(2.0**23)
STEPS = 2**23 + 2 * (np.arange(24, dtype=np.int64) ** 4 % 2**21)
"""Even integers between 2^23 and 2^24. The layer adds one to each; a half added to that in float32 gives the next even
one."""

FUNCTIONS = {
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "gelu": jax.nn.gelu,
    "swish": jax.nn.silu,
    "softmax": jax.nn.softmax,
    "glu": nn.glu,
    "layer norm": lambda x: nn.LayerNorm(epsilon=1e-5)(x),
    "concatenation": lambda x: jnp.concatenate([x, jnp.float32(0.5) * x], -1),
    "average": lambda x: nn.avg_pool(x[..., None], (2,), (2,)),
}


IDENTITY = {"kernel": np.eye(12, dtype=np.float32), "bias": np.full(12, 1 / SCALE)}


def behind_the_identity(function):
    return lambda x: function(nn.Dense(12)(x))


def on_one_grid(path, leaf):
    if path[-1].key != "scale":
        return leaf
    return np.float32(16) if path[-2].key == "weight_quantizer" else SCALE


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_operand_enters_a_kernel_as_it_is(name, tmp_path, flax_promotion):
    x = np.float32(STEPS / SCALE * np.where(STEPS % 3, 1, -1)).reshape(2, 12)
    config = {"platform": "venusA", "quant_info": {"activate_bits": 26}}
    qmodel, variables = prepared(Calls(behind_the_identity(FUNCTIONS[name])), x, config=config)
    variables["quant"] = jax.tree_util.tree_map_with_path(on_one_grid, variables["quant"])
    variables["params"] = {**variables["params"], "Dense_0": IDENTITY}
    path = linger_jax.export_onnx(qmodel, variables, x, tmp_path / "m.onnx", dialect="linger")
    evaluated = np.asarray(qmodel.apply(variables, x))
    (got,) = linger_jax.OnnxRunner(path).run(x)
    np.testing.assert_array_equal(got.reshape(evaluated.shape), evaluated)
    np.testing.assert_array_equal(qmodel.apply(variables, x, mode="integer"), evaluated)
