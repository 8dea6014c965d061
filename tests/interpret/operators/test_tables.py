"""Functions as tables of results: exact numbers, rounded once, in every way of computing (docs/decisions.md D37)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linger_jax
from linger_jax import QTensor
from linger_jax.errors import LingerError
from tests.interpret.steps import TQT, same_bits, scale_for
from tests.models import OnArguments, on_grid, prepared

A = on_grid(0, 32.0, 5, 6)
STATE = "_linger_qtensor_qtable_0"


def leaky(x):
    """In float64, with the slope that a float32 model has."""
    return np.where(x >= 0, x, np.float64(np.float32(0.01)) * x)


FUNCTIONS = {
    "leaky_relu": (nn.leaky_relu, leaky),
    "hard_swish": (nn.hard_swish, lambda x: x * np.clip(x + 3, 0, 6) / 6),
    "exp": (jnp.exp, np.exp),
    "just below ties": (lambda x: (x + 2.0**-6) - 2.0**-40, lambda x: x + 2.0**-6 - 2.0**-40),
    "of the user": (lambda x: jnp.where(x > 1.0, jnp.divide(2.0, x), x**2), lambda x: np.where(x > 1, 2 / x, x**2)),
}


def trained(function, x, config=None):
    qmodel, variables = prepared(OnArguments(function), x, config=config)
    output, updates = qmodel.apply_qtensor(variables, x, mutable=["quant"])
    return qmodel, {**variables, **updates}, output


@pytest.mark.parametrize("mode", ["floor_add", "floor", "round"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_result_is_the_exact_number_rounded_once(name, mode):
    function, exact = FUNCTIONS[name]
    qmodel, variables, output = trained(function, A, {"quant_info": {"round_mode": mode}})
    with np.errstate(divide="ignore"):
        numbers = exact(np.asarray(A.value, np.float64))
    scale = scale_for(np.abs(np.float32(numbers)).max())
    assert float(output.scale) == scale
    rounded = {"floor_add": np.floor(numbers * scale + 0.5), "floor": np.floor(numbers * scale)}.get(
        mode, np.rint(numbers * scale)
    )
    np.testing.assert_array_equal(output.value, np.clip(rounded, -128, 127) / scale)
    same_bits(qmodel.apply_qtensor(variables, A), output)


@pytest.mark.parametrize("name", ["leaky_relu", "of the user"])
def test_all_ways_of_evaluating_give_the_same_bits(name):
    qmodel, variables, output = trained(FUNCTIONS[name][0], A)
    same_bits(jax.jit(qmodel.apply_qtensor)(variables, A), output)
    same_bits(jax.jit(lambda x: qmodel.apply_qtensor(variables, x))(A), output)
    same_bits(qmodel.apply_qtensor(variables, A, mode="integer"), output)
    rows = jax.vmap(lambda v: qmodel.apply_qtensor(variables, QTensor(v, A.scale, 8)).value)(A.value[:, None])
    same_bits(rows[:, 0], output.value)
    with jax.enable_x64(True):
        same_bits(qmodel.apply_qtensor(variables, A), output)


@pytest.mark.parametrize("config", [{}, TQT])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_gradient_is_that_of_the_float_function_where_nothing_was_cut(name, config):
    function = FUNCTIONS[name][0]
    qmodel, variables, output = trained(function, A, config)
    weights = np.float32(np.random.default_rng(1).normal(size=A.shape))

    def loss(value):
        result, _ = qmodel.apply_qtensor(variables, QTensor(value, A.scale, 8), mutable=["quant"])
        return jnp.sum(weights * result.value)

    found = jax.jit(jax.grad(loss))(A.value)
    steps = np.asarray(function(A.value)) * float(output.scale)
    free = (steps < 127) & (steps > -128)
    want = np.asarray(jax.grad(lambda value: jnp.sum(weights * function(value)))(A.value))
    assert free.any()
    np.testing.assert_allclose(found, np.where(free, want, 0), rtol=1e-6)


def test_an_infinity_is_the_end_of_the_grid_counts_in_no_statistic_and_has_no_gradient():
    x = QTensor(jnp.float32([[0.0, 0.5, -0.25, 1.0]]), jnp.float32(4.0), 8)
    _, variables, output = trained(jnp.reciprocal, x)
    assert float(variables["quant"][STATE]["output_quantizer"]["running_data"]) == 4.0
    np.testing.assert_array_equal(output.value, np.float32([[127, 64, -128, 32]]) / 32)
    qmodel, variables = prepared(OnArguments(jnp.reciprocal), x)

    def loss(value):
        return qmodel.apply_qtensor(variables, QTensor(value, x.scale, 8), mutable=["quant"])[0].value.sum()

    np.testing.assert_array_equal(jax.grad(loss)(x.value), np.float32([[0, -4, -16, -1]]))


def test_what_is_no_number_is_zero():
    x = QTensor(jnp.float32([[-1.0, 1.0, 2.0]]), jnp.float32(4.0), 8)
    qmodel, variables, output = trained(jnp.log, x)
    np.testing.assert_array_equal(output.value[0, :2], 0.0)
    same_bits(qmodel.apply_qtensor(variables, x), output)
    assert np.isfinite(variables["quant"][STATE]["output_quantizer"]["scale"])


def test_an_operand_that_is_no_number_stays_none():
    qmodel, variables, _ = trained(nn.elu, A)
    x = QTensor(A.value.at[0, 0].set(jnp.nan), A.scale, 8)
    output = qmodel.apply_qtensor(variables, x)
    assert np.isnan(output.value[0, 0])
    assert np.isfinite(output.value).sum() == output.value.size - 1
    with pytest.raises(LingerError, match="NaN"):
        qmodel.apply_qtensor(variables, x, mode="integer")


def test_calibration_takes_functions_that_are_not_finite_everywhere():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            return jnp.log(jnp.reciprocal(nn.Dense(3)(x)))

    x = np.float32([[0.0, 0.0], [1.0, 2.0]])
    qmodel, variables = prepared(Model(), x)
    variables = linger_jax.calibrate(qmodel, variables, [x], progress=False)
    output = qmodel.apply_qtensor(variables, x)
    assert np.isfinite(output.value).all()
    same_bits(qmodel.apply_qtensor(variables, x, mode="integer"), output)


def test_a_scale_beyond_the_table_of_a_value_made_by_hand_is_no_number():
    x = QTensor(jnp.float32([[0.5]]), jnp.float32(2.0**25), 8)
    qmodel, variables, _ = trained(nn.elu, A)
    assert np.isnan(qmodel.apply_qtensor(variables, x).value).all()


def test_wide_results_lie_on_their_grid():
    _, _, output = trained(nn.elu, A, {"part1": {"name": ["*"], "quant_info": {"output_bits": 16}}})
    exact = np.where(A.value > 0, np.float64(A.value), np.expm1(np.float64(A.value)))
    assert output.bits == 16
    np.testing.assert_array_equal(output.value, np.floor(exact * float(output.scale) + 0.5) / float(output.scale))
