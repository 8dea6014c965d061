"""Which products with parameters are layers: by configuration, by what they multiply, and in loops."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from linger_jax.plan import PlanError
from tests.plan.planned import planned, row_of, summary
from tests.plan.recognize.custom_products import Product, Twice, X

# --- choosing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config", [{"custom_layers": False}, {"compat": "reference"}], ids=["switched off", "reference"]
)
def test_without_custom_layers_the_product_is_a_matmul_if_an_operand_is_quantized(config):
    plan = planned(Product(lambda x, w: x @ w, behind=True), X, config=config)
    assert summary(plan)[1:] == [("_linger_qtensor_qmatmul_0", "dot_general", "quantized")]


def test_switched_off_custom_layer_with_a_float_operand_counts_as_disabled():
    plan = planned(Product(lambda x, w: x @ w), X, config={"custom_layers": False}, strict=True)
    row = row_of(plan, "<root>")
    assert (row.status, row.reason) == ("disabled", "disabled by custom_layers: false")


@pytest.mark.parametrize(
    ("name", "left"), [("inner", ["w", "w_1"]), ("inner.w", ["w", "w_1"]), ("w_1", ["w", *["inner.w"] * 2])]
)
def test_custom_layer_is_disabled_by_its_name_or_its_module_s(name, left):
    plan = planned(Twice(), X, disable_submodel=name)
    assert [row.name for row in plan.rows() if row.status == "quantized"] == left
    assert all(row.reason == f"disable_submodel {name!r}" for row in plan.rows() if row.status == "disabled")


def test_custom_layer_is_disabled_by_the_type_of_its_module():
    assert {row.status for row in planned(Product(lambda x, w: x @ w), X, disable_module=Product).rows()} == {
        "disabled"
    }


def test_strict_refuses_a_float_product_with_its_source_line():
    with pytest.raises(PlanError, match=r"(?s)strict: .*params\.w.*\(test_choosing_custom_layers\.py:\d+\)"):
        planned(Product(lambda x, w: x @ jnp.tanh(w)), X, strict=True)


def test_statistics_are_not_taken_for_parameters():
    class Whitened(nn.Module):
        @nn.compact
        def __call__(self, x):
            matrix = self.variable("batch_stats", "matrix", lambda: jnp.ones((4, 4)))
            return nn.Dense(4, name="layer")(x) @ matrix.value

    plan = planned(Whitened(), X)
    assert summary(plan)[1:] == [("_linger_qtensor_qmatmul_0", "dot_general", "quantized")]


# --- loops -----------------------------------------------------------------------------------------------------------


class Step(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        w = self.param("w", nn.initializers.ones, (4, 4))
        return nn.relu(x @ w + self.param("b", nn.initializers.ones, (4,))[None]), None


@pytest.mark.parametrize("remat", [False, True])
def test_parameters_stacked_by_nn_scan_have_a_quantizer_each(remat):
    class Stack(nn.Module):
        @nn.compact
        def __call__(self, x):
            step = nn.remat(Step, prevent_cse=False) if remat else Step
            scan = nn.scan(step, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
            return scan(name="steps")(nn.Dense(4, name="entry")(x), None)[0]

    plan = planned(Stack(), X)
    assert [(row.name, row.status) for row in plan.rows() if row.op == "custom linear"] == [("steps.w", "quantized")]
    assert {path[-1]: q.stack for path, q in plan.quantizers.items() if path[:2] == ("steps", "w")} == {
        f"{q}_quantizer": (3,) for q in ("input", "weight", "bias", "output")
    }
    assert plan.quantizers["steps", "w", "weight_quantizer"].parameter == ("params", "steps", "w")


def test_parameters_stacked_by_hand_are_followed_into_the_loop():
    class Loop(nn.Module):
        @nn.compact
        def __call__(self, x):
            w = self.param("w", nn.initializers.ones, (3, 4, 4))
            return jax.lax.scan(lambda x, w: (x @ w, None), nn.Dense(4, name="entry")(x), w)[0]

    plan = planned(Loop(), X)
    assert row_of(plan, "w").status == "quantized"
    assert plan.quantizers["w", "weight_quantizer"].stack == (3,)


def test_parameter_indexed_by_a_loop_counter_is_one_tensor():
    class Loop(nn.Module):
        @nn.compact
        def __call__(self, x):
            w = self.param("w", nn.initializers.ones, (3, 4, 4))
            return jax.lax.fori_loop(0, 3, lambda i, x: x @ w[i], nn.Dense(4, name="entry")(x))

    plan = planned(Loop(), X)
    assert row_of(plan, "w").status == "quantized"
    quantizer = plan.quantizers["w", "weight_quantizer"]
    assert (quantizer.stack, quantizer.visits, quantizer.parameter) == ((), 3, ("params", "w"))
