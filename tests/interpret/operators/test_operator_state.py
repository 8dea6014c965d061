"""The state of operators, and where it comes from (docs/specification/ops.md section 8)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

import linger_jax
from linger_jax import LingerWarning
from tests.models import Calls, initialised, normal

KEY = jax.random.key(0)


def test_the_matmul_operator_and_concatenations_of_three_are_quantized():
    def model(x):
        a, b, c = (nn.Dense(4, name=name)(x) for name in "abc")
        return jnp.concatenate([a @ b.T, a, b, c], axis=-1)

    x = normal(4, 5)
    qmodel = linger_jax.init(Calls(model))
    quant = qmodel.init(KEY, x)["quant"]
    assert set(quant["_linger_qtensor_qmatmul_0"]["input_quantizer"]) == {"0", "1"}
    assert set(quant["_linger_qtensor_qcat_1"]["input_quantizer"]) == {"0", "1", "2", "3"}


def test_every_threshold_exists_before_the_first_step():
    def model(x):
        return nn.Dense(4)(x) * 3.0

    x = normal(4, 5)
    qmodel = linger_jax.init(Calls(model), {"quant_info": {"qat_method": "TQT"}})
    variables = initialised(qmodel, x)
    _, updates = qmodel.apply(variables, x, mutable=["quant", "params"])
    assert jax.tree.structure(updates["params"]) == jax.tree.structure(variables["params"])
    assert variables["params"]["_linger_qtensor_qmul_0"]["output_quantizer"]["learning_data"].shape == (1,)


def test_an_exception_inside_a_forward_leaves_no_owner_behind():
    class Fails(nn.Module):
        fail: bool

        @nn.compact
        def __call__(self, x):
            x = nn.Dense(4)(x)
            if self.fail:
                raise RuntimeError("on purpose")
            return x + x

    x = normal(2, 4)
    with pytest.raises(RuntimeError, match="on purpose"):
        linger_jax.init(Fails(True)).adopt(Fails(False).init(KEY, x), x)
    assert "_linger_qtensor_qadd_0" in linger_jax.init(Fails(False)).init(KEY, x)["quant"]


def test_a_power_of_two_constant_is_clipped_by_its_own_quantizer():
    def model(x):
        return nn.Dense(4)(x) * 0.5

    x = normal(8, 5)
    qmodel = linger_jax.init(Calls(model))
    with pytest.warns(LingerWarning, match=r"_linger_qtensor_qmul_0.*constant 0.5 counts as 0.49609375"):
        variables = initialised(qmodel, x)
    _, updates = qmodel.apply(variables, x, mutable=["quant"])
    constant = updates["quant"]["_linger_qtensor_qmul_0"]["input_quantizer"]["1"]
    assert constant["running_data"] == 0.5
    assert constant["scale"] == 256, "0.5 is 128 steps, one above the largest"
