"""Which parts of a model become one table, and what keeps others from it (docs/decisions.md D37)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linger_jax.plan.graph import RESULTS
from tests.models import AfterDense
from tests.plan.planned import planned, row_of, summary

X = jax.ShapeDtypeStruct((2, 4), jnp.float32)
TABLE = ("_linger_qtensor_qtable_0", "table", "quantized")
WIDE = {"quant_info": {"activate_bits": 16}}


def rows(function, **kwargs):
    return summary(planned(AfterDense(function), X, **kwargs))[1:]


def reason(function, **kwargs):
    (row,) = planned(AfterDense(function), X, **kwargs).float_rows
    return row.reason


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * nn.relu6(x + 3.0) / 6.0,
        lambda x: 2.0 * nn.leaky_relu(nn.relu(x) - 1.0),
        lambda x: nn.sigmoid(jnp.exp(nn.sigmoid(x))),
        lambda x: jnp.where(x > 0.0, jnp.log1p(x), -x) + jnp.ones((2, 4)),
        jax.jit(lambda x: nn.gelu(x) - x),
        lambda x: jnp.copy(jnp.exp(jax.lax.stop_gradient(x))),
    ],
)
def test_a_function_of_one_value_is_one_table_as_large_as_it_can_be(function):
    assert rows(function) == [TABLE]


def test_a_table_may_reach_over_modules_that_are_configured_alike():
    class HardSigmoid(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.relu6(x + 3.0) / 6.0

    assert rows(lambda x: x * HardSigmoid(name="gate")(x)) == [TABLE]
    part = {"part1": {"name": ["gate"], "quant_info": {"output_bits": 6}}}
    assert rows(lambda x: x * HardSigmoid(name="gate")(x), config=part) == [
        ("gate._linger_qtensor_qtable_0", "table", "quantized"),
        ("_linger_qtensor_qmul_0", "mul", "quantized"),
    ]


@pytest.mark.parametrize(
    ("function", "ops"),
    [
        (lambda x: x * nn.sigmoid(x) + 1.0, ["logistic", "mul", "add"]),
        (nn.relu6, ["relu6"]),
        (lambda x: nn.relu(x) * 0.75, ["relu", "mul"]),
        (lambda x: x > 0.0, []),
    ],
)
def test_what_has_a_quantized_form_keeps_it(function, ops):
    assert [op for _, op, _ in rows(function)] == ops


def test_what_others_read_ends_a_table():
    def function(x):
        y = jnp.exp(x)
        return y, y - 1.0

    first, second = (node for node in planned(AfterDense(function), X).graph.nodes if node.op == "table")
    assert second.inputs == first.outputs


def test_a_mask_that_others_read_too_is_computed_for_both():
    def function(x):
        positive = x - 1.0 > 0.0
        return jnp.where(positive, x, -x), positive

    plan = planned(AfterDense(function), X)
    ops = [node.op for node in plan.graph.nodes]
    assert ops.count("table") == 2  # x - 1 of the mask, which stays, is one by itself
    assert "gt" in ops
    assert "select_n" not in ops


def test_tables_have_a_counter_of_their_own():
    """Names of other operators are linger's, where such a function is float."""
    assert [name for name, *_ in rows(lambda x: nn.elu(x + x[::-1]) + x)] == [
        "_linger_qtensor_qadd_0",
        "_linger_qtensor_qtable_0",
        "_linger_qtensor_qadd_1",
    ]


def test_its_quantizers_are_those_of_an_operator():
    plan = planned(
        AfterDense(nn.elu), X, config={"part1": {"name": ["*"], "quant_info": {"output_bits": 8, "input_bits": 12}}}
    )
    found = {path[1:]: (q.active, q.spec.bits) for path, q in plan.quantizers.items() if "qtable" in path[0]}
    assert found == {("input_quantizer", "0"): (False, 12), ("output_quantizer",): (True, 8)}
    (node,) = (node for node in plan.graph.nodes if node.op == "table")
    assert node.attributes[RESULTS].high.shape == (24, 256)
    assert "elu as a table of its results" in row_of(plan, TABLE[0]).reason


class Learned(nn.Module):
    @nn.compact
    def __call__(self, x):
        slope = self.param("slope", nn.initializers.constant(0.1), ())
        return jnp.where(x > 0.0, x, slope * x)


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda x: x - Learned(name="learned")(x), "no table: it reads several computed values"),
        (lambda x: x - np.float32([[1, 2, 3, 4]]), "no table: it reads an array of several constants"),
        (lambda x: jax.jit(jnp.sinc)(x.astype(jnp.int32).astype(jnp.float32)), "cast to int32"),
        (lambda x: x - x[::-1], "no table: it reads several computed values"),
        (lambda x: nn.log_softmax(x), "log_softmax has no quantized form; its operand"),
        (jax.lax.bessel_i0e, "bessel_i0e has no quantized form; its operand"),
    ],
)
def test_what_is_no_table_says_why(function, why):
    found = [row.reason for row in planned(AfterDense(function), X).float_rows]
    assert any(why in text for text in found), found


def test_a_learned_slope_is_no_constant():
    plan = planned(AfterDense(lambda x: jnp.exp(x) ** Learned(name="learned").bind({"params": {"slope": 0.1}})(x)), X)
    assert plan.rows()


def test_wide_operands_have_no_table():
    assert "no table: 16 bits, and tables have 8" in reason(nn.elu, config=WIDE)


def test_a_float_operand_has_none():
    class Plain(AfterDense):
        def __call__(self, x):
            return self.operator(x)

    assert planned(Plain(nn.elu), X).rows() == ()


@pytest.mark.parametrize("name", ["table", "look_up"])
def test_tables_are_disabled_by_name(name):
    assert f"no table: disable_ops {name!r}" in reason(nn.elu, disable_ops=name)


def test_a_disabled_operator_is_part_of_no_table():
    assert rows(lambda x: jnp.exp(x) * 2.0, disable_ops="mul") == [TABLE, ("<root>", "mul", "disabled")]
    assert rows(nn.silu, config={"platform": "arcs"}, disable_ops="swish") == [("<root>", "silu", "disabled")]


def test_functions_are_float_under_the_reference():
    config = {"compat": "reference"}
    assert reason(nn.elu, config=config) == "elu has no quantized form; its operand leaves the integer grid here"


def test_bodies_of_loops_have_tables_too():
    class Body(nn.Module):
        @nn.compact
        def __call__(self, carry, _):
            return nn.Dense(4)(nn.elu(nn.Dense(4)(carry))), None

    def looped(x):
        scan = nn.scan(Body, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
        return scan(name="body")(x, None)[0]

    assert ("body._linger_qtensor_qtable_0", "table", "quantized") in rows(looped)
