"""Each operator is recognised however it is written, and what is not recognised is listed with a reason."""

import jax
import jax.numpy as jnp
import pytest

from tests.models import AfterConv, AfterDense
from tests.plan.planned import planned
from tests.plan.recognize.operator_zoo import SEQUENCE, STRUCTURAL, ZOO


def plan_of(case, **options):
    model = (
        AfterDense(case.function) if len(case.shape) == 2 else AfterConv(case.function, (1,) * (len(case.shape) - 2))
    )
    x = jax.ShapeDtypeStruct(case.shape, jnp.float32)
    # nn.avg_pool divides a float by a Python-made integer.
    with jax.numpy_dtype_promotion("standard"):
        return planned(model, x, **options)


# What a plan has to know, it computes: how many cells a window has, or the root of a number.
COMPUTED = ("softmax with where", "avg_pool without padding in the count", "masked mean", "x / sqrt(8)")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.model) if n in COMPUTED else n for n in ZOO])
def test_operator_makes_the_rows_of_the_coverage_table(name):
    rows = [row for row in plan_of(ZOO[name]).rows() if row.name != "layer"]
    assert tuple((row.op, row.status) for row in rows) == ZOO[name].rows
    for row in rows:
        assert (row.bits is None) == (row.status == "float")
        assert row.reason or row.status != "float"
        assert row.source.startswith(("operator_zoo.py:", "models.py:"))


@pytest.mark.parametrize("name", [name for name, case in STRUCTURAL.items() if not case.rows])
def test_structural_operator_hands_the_bits_on(name):
    plan = plan_of(STRUCTURAL[name])
    bits = {value: b for node in plan.graph.nodes for value, b in zip(node.outputs, node.bits, strict=False)}
    assert [bits[value] for value in plan.graph.outputs] == [8] * len(plan.graph.outputs)


def test_padding_with_another_number_passes_under_the_reference():
    assert [r.op for r in plan_of(ZOO["pad with ones"], config={"compat": "reference"}).rows()] == ["Dense"]


def test_sorting_keys_and_values_keeps_each_grid():
    def both(x):
        return jax.lax.sort((x, jnp.zeros(x.shape, jnp.int32), 2 * x), num_keys=1)

    plan = planned(AfterDense(both), jax.ShapeDtypeStruct((2, 4), jnp.float32))
    (node,) = (n for n in plan.graph.nodes if n.attributes.get("primitive") == "sort")
    assert node.bits == (8, None, 8)


def softmax_by_hand(x):
    largest = jax.lax.stop_gradient(jnp.max(x, axis=-1, keepdims=True, initial=-jnp.inf))
    powers = jnp.exp(x - largest)
    return powers / jnp.sum(powers, axis=-1, keepdims=True), powers


def test_softmax_written_by_hand_in_the_library_s_steps_is_recognised():
    plan = planned(AfterDense(lambda x: softmax_by_hand(x)[0]), jax.ShapeDtypeStruct((2, 4), jnp.float32))
    assert [row.op for row in plan.rows()][1:] == ["softmax"]


def test_softmax_that_is_read_inside_as_well_is_not_taken_for_one_operator():
    plan = planned(AfterDense(softmax_by_hand), jax.ShapeDtypeStruct((2, 4), jnp.float32))
    assert [row.op for row in plan.rows()][1:] == ["reduce_max", "sub"]


def test_average_read_before_its_division_is_not_taken_for_a_pool():
    def both(x):
        total = jnp.sum(x, axis=1)
        return total / 6.0, total

    plan = planned(AfterConv(both, (1,)), jax.ShapeDtypeStruct(SEQUENCE, jnp.float32))
    assert [row.op for row in plan.rows()][1:] == ["reduce_sum"]


def test_relu_of_the_user_s_own_with_a_custom_derivative_is_a_table_and_no_relu():
    @jax.custom_jvp
    def relu(x):
        return jnp.maximum(x, 0)

    relu.defjvp(lambda primals, tangents: (relu(*primals), tangents[0]))
    plan = planned(AfterDense(relu), jax.ShapeDtypeStruct((2, 4), jnp.float32))
    assert [(r.op, r.status) for r in plan.rows()][1:] == [("table", "quantized")]


def test_operators_on_plain_values_are_no_rows():
    class Plain(AfterDense):
        def __call__(self, x):
            return self.operator(x)

    def everything(x):
        return jax.nn.relu(x) + jax.nn.softmax(x @ x.T) @ jnp.concatenate([x, x], 1)[:, :4]

    assert planned(Plain(everything), jax.ShapeDtypeStruct((2, 4), jnp.float32)).rows() == ()
