"""``linger_jax.supported()`` and ``disable_ops``: the names of operators."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

import linger_jax
from linger_jax import LingerError, Platform
from linger_jax.staging.layer_kinds import LAYERS
from tests.models import AfterDense, initialised, random_array
from tests.plan.planned import planned, summary

X = jax.ShapeDtypeStruct((2, 4), jnp.float32)


def test_operators_and_the_platforms_that_run_them():
    operators = linger_jax.supported().operators
    everywhere = {platform.value for platform in Platform}
    assert {name: set(platforms) for name, platforms in operators.items()} == {
        **dict.fromkeys(("add", "mul", "matmul", "cat", "table"), everywhere),
        **dict.fromkeys(("sigmoid", "tanh", "gelu", "swish"), everywhere),  # as a table where there is no kernel
        "softmax": everywhere - {"jupiter"},
    }


def test_layers_are_those_that_have_a_quantized_form():
    layers = linger_jax.supported().layers
    assert {"Dense", "Conv", "BatchNorm", "Embed"} <= set(layers)
    recognised = {module_type.__name__ for module_type, (kind, _) in LAYERS.items() if kind.float_because is not None}
    assert not recognised & set(layers)


def test_it_is_a_frozen_value_that_prints_as_a_table():
    known = linger_jax.supported()
    assert known == linger_jax.supported()
    with pytest.raises(dataclasses.FrozenInstanceError):
        known.layers = {}
    (line,) = (line for line in str(known).splitlines() if "operator softmax" in line)
    assert [cell.strip() for cell in line.strip("│").split("│")].count("yes") == len(Platform) - 1


def everything(x):
    return jax.nn.softmax(jnp.concatenate([jax.nn.gelu(x) * x, x + x], 0) @ x.T)


def test_disabled_operators_stay_float_and_say_why():
    plan = planned(AfterDense(everything), X, disable_ops=("softmax", "add"))
    assert [row for row in summary(plan) if row[1] != "Dense"] == [
        ("_linger_qtensor_qgelu_0", "gelu", "quantized"),
        ("_linger_qtensor_qmul_1", "mul", "quantized"),
        ("<root>", "add", "disabled"),
        ("_linger_qtensor_qcat_2", "concatenate", "quantized"),
        ("_linger_qtensor_qmatmul_3", "dot_general", "quantized"),
        ("<root>", "softmax", "disabled"),
    ]
    assert {row.reason for row in plan.rows() if row.status == "disabled"} == {
        "disable_ops 'add'",
        "disable_ops 'softmax'",
    }


@pytest.mark.parametrize("name", ["silu", "swish"])
def test_operator_is_disabled_under_any_of_its_names(name):
    assert summary(planned(AfterDense(jax.nn.silu), X, disable_ops=name))[1:] == [("<root>", "silu", "disabled")]


def test_disabled_operators_are_not_missed_by_strict():
    planned(AfterDense(jax.nn.softmax), X, disable_ops="softmax", strict=True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("sofmax", "disable_ops: 'sofmax' is no operator; did you mean 'softmax'?"),
        ("xyzzy", "disable_ops: 'xyzzy' is no operator; known are: add, mul, matmul, cat, sigmoid"),
        ((3,), "disable_ops: 3 is no operator"),
    ],
)
def test_name_that_is_no_operator_is_refused(given, message):
    with pytest.raises(LingerError) as error:
        linger_jax.init(AfterDense(jax.nn.relu), disable_ops=given)
    assert message in str(error.value)


def test_disabled_operator_runs_as_float():
    qmodel = linger_jax.init(AfterDense(jax.nn.softmax), disable_ops="softmax")
    x = random_array(0, 2, 4)
    variables = initialised(qmodel, x)
    output = qmodel.apply(variables, x, mutable=["quant"])[0]
    assert jnp.allclose(output.sum(-1), 1.0, atol=1e-6)
