"""Quantized operators against their arithmetic by hand (docs/specification/ops.md sections 3 and 4)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linger_jax import QTensor
from tests.interpret.steps import quantized, scale_for
from tests.models import OnArguments, on_grid, prepared, random_array


def run(operator, *args, evaluate=False):
    """The operator's output after one training call (or an evaluation call behind it) and its state."""
    qmodel, variables = prepared(OnArguments(operator), *args)
    output, updates = qmodel.apply_qtensor(variables, *args, mutable=["quant"])
    if evaluate:
        output = qmodel.apply_qtensor({**variables, **updates}, *args)
    (state,) = (entry for name, entry in updates["quant"].items() if name.startswith("_linger"))
    return output, state


A, B = on_grid(0, 64.0, 3, 4), on_grid(1, 16.0, 3, 4)


@pytest.mark.parametrize(
    ("operator", "numpy_operator"),
    [
        (lambda x, y: x * y, np.multiply),
        (lambda x, y: x @ y.T, lambda x, y: x @ y.T),
        (lambda x, y: jnp.concatenate([x, y], 1), lambda x, y: np.concatenate([x, y], 1)),
        (lambda x, y: jnp.stack([x, y]), lambda x, y: np.stack([x, y])),
    ],
    ids=["mul", "matmul", "concatenate", "stack"],
)
def test_operator_is_the_float_one_on_the_values_and_an_output_quantizer(operator, numpy_operator):
    output, state = run(operator, A, B)
    exact = numpy_operator(np.asarray(A.value), np.asarray(B.value))
    scale = scale_for(np.abs(exact).max())
    assert (float(output.scale), output.bits) == (scale, 8)
    np.testing.assert_array_equal(output.value, quantized(exact, scale))
    assert float(state["output_quantizer"]["running_data"]) == np.abs(exact).max()
    assert float(state["output_quantizer"]["scale"]) == scale


def test_incoming_scales_are_recorded_and_statistics_stay():
    _, state = run(lambda x, y: x * y, A, B)
    for i, scale in (("0", 64.0), ("1", 16.0)):
        entry = state["input_quantizer"][i]
        assert (float(entry["scale"]), float(entry["running_data"]), bool(entry["is_init"])) == (scale, 0.0, False)


def test_float_operand_goes_through_its_own_quantizer():
    plain = random_array(2, 3, 4)
    output, state = run(lambda x, y: x * y, A, plain)
    entry = state["input_quantizer"]["1"]
    assert float(entry["running_data"]) == np.abs(plain).max()
    operand = quantized(plain, float(entry["scale"]))
    np.testing.assert_array_equal(output.value, quantized(np.asarray(A.value) * operand, float(output.scale)))


@pytest.mark.parametrize(
    ("constant", "used"),
    [(0.5, 0.49609375), (1.0, 0.9921875), (-0.5, -0.5), (-1.0, -1.0), (3.0, 3.0), (0.75, 0.75)],
)
@pytest.mark.filterwarnings("ignore:.*it is clipped:linger_jax.LingerWarning")
def test_constant_operand_is_quantized_like_any_other(constant, used):
    """A power of two saturates one step below itself (docs/codes.md O19, kept)."""
    output, _ = run(lambda x: x * constant, A)
    np.testing.assert_array_equal(output.value, quantized(np.asarray(A.value) * used, float(output.scale)))
    output, _ = run(lambda x: constant + x, A)
    np.testing.assert_array_equal(output.value, quantized(np.asarray(A.value) + used, float(output.scale)))


def test_operand_that_stands_twice_is_two_operands():
    output, state = run(lambda x: x + x, A)
    assert set(state["input_quantizer"]) == {"0", "1"}
    exact = 2 * np.asarray(A.value)
    np.testing.assert_array_equal(output.value, quantized(exact, float(output.scale)))


def test_sum_is_never_finer_than_its_coarser_operand():
    fine, coarse = on_grid(0, 4096.0, 3, 4), QTensor(jnp.full((3, 4), 0.25), jnp.float32(4.0), 8)
    output, state = run(lambda x, y: x + y, fine, coarse)
    unlimited = scale_for(float(state["output_quantizer"]["running_data"]))
    assert unlimited > 4.0
    assert float(output.scale) == float(state["output_quantizer"]["scale"]) == 4.0


def test_sum_rounds_its_operands_to_the_output_scale_in_evaluation_only():
    x, y = on_grid(4, 64.0, 40, largest=100), on_grid(7, 64.0, 40, largest=100)
    train, state = run(lambda x, y: x + y, x, y)
    evaluated, _ = run(lambda x, y: x + y, x, y, evaluate=True)
    scale = float(state["output_quantizer"]["scale"])
    assert scale == 32.0
    x, y = np.asarray(x.value), np.asarray(y.value)
    np.testing.assert_array_equal(train.value, quantized(x + y, scale))
    rounded = np.floor(x * scale + 0.5) / scale + np.floor(y * scale + 0.5) / scale
    np.testing.assert_array_equal(evaluated.value, quantized(rounded, scale))
    assert not np.array_equal(train.value, evaluated.value)


def test_operand_of_the_output_s_scale_is_not_rounded_in_evaluation():
    """Its values may lie beyond the grid of its bits; rounding them again would be the identity."""
    x, y = on_grid(3, 32.0, 40, largest=30), on_grid(4, 64.0, 40, largest=30)
    evaluated, state = run(lambda x, y: x + y, x, y, evaluate=True)
    scale = float(state["output_quantizer"]["scale"])
    assert scale == 32.0
    exact = np.asarray(x.value) + np.floor(np.asarray(y.value) * scale + 0.5) / scale
    np.testing.assert_array_equal(evaluated.value, quantized(exact, scale))


def test_concatenated_operand_without_elements_takes_no_part():
    output, state = run(lambda x, y: jnp.concatenate([x[:, :0], y, jnp.zeros((3, 0))], 1), A, B)
    np.testing.assert_array_equal(output.value, quantized(B.value, float(output.scale)))
    assert float(state["input_quantizer"]["0"]["scale"]) == 1.0
    assert not bool(state["input_quantizer"]["2"]["is_init"])


def test_scale_passes_relu_and_moves_and_keeps_the_value_exact():
    def moves(x):
        x = jnp.roll(nn.relu(x).reshape(2, 6), 1, axis=1)
        return jnp.pad(x, ((0, 0), (1, 1)), mode="reflect")

    qmodel, variables = prepared(OnArguments(moves), A)
    output = qmodel.apply_qtensor(variables, A, mutable=["quant"])[0]
    with jax.numpy_rank_promotion("allow"):
        np.testing.assert_array_equal(output.value, moves(A.value))
    assert (float(output.scale), output.bits) == (64.0, 8)


def test_sort_and_top_k_return_grid_values_and_plain_indices():
    qmodel, variables = prepared(OnArguments(lambda x: (jnp.sort(x), *jax.lax.top_k(x, 2), jnp.argsort(x))), A)
    ordered, top, indices, order = qmodel.apply_qtensor(variables, A, mutable=["quant"])[0]
    assert isinstance(ordered, QTensor)
    assert isinstance(top, QTensor)
    assert (indices.dtype, order.dtype) == (jnp.int32, jnp.int32)
    np.testing.assert_array_equal(ordered.value, np.sort(A.value))
    np.testing.assert_array_equal(indices, jax.lax.top_k(A.value, 2)[1])


def test_comparison_and_index_are_those_of_the_values():
    qmodel, variables = prepared(OnArguments(lambda x: (x > 0.25, jnp.argmax(x))), A)
    greater, index = qmodel.apply(variables, A, mutable=["quant"])[0]
    np.testing.assert_array_equal(greater, A.value > 0.25)
    assert int(index) == int(jnp.argmax(A.value))


# The largest step of the operands is chosen so that the rounded scale lets some results saturate.
@pytest.mark.parametrize(
    ("operator", "largest"), [(lambda x, y: x + y, 127), (lambda x, y: x * y, 100)], ids=["add", "mul"]
)
def test_gradient_is_the_ordinary_one_where_the_output_does_not_saturate(operator, largest):
    a, b = on_grid(5, 64.0, 90, 4, largest=largest), on_grid(6, 16.0, 90, 4, largest=largest)
    qmodel, variables = prepared(OnArguments(operator), a, b)

    def loss(x, y):
        x, y = QTensor(x, a.scale, 8), QTensor(y, b.scale, 8)
        output, _ = qmodel.apply_qtensor(variables, x, y, mutable=["quant"])
        return jnp.sum(output.value), output.scale

    ours, scale = jax.grad(loss, (0, 1), has_aux=True)(a.value, b.value)
    steps = np.floor(operator(a.value, b.value) * scale + 0.5)
    saturated = (steps > 127) | (steps < -128)
    assert 0 < saturated.sum() < saturated.size
    wanted = jax.vjp(operator, a.value, b.value)[1](jnp.where(saturated, 0.0, 1.0))
    jax.tree.map(np.testing.assert_array_equal, ours, wanted)


@pytest.mark.parametrize(("relu", "at_zero"), [(nn.relu, 0.0), (lambda x: jnp.maximum(x, 0.0), 0.5)])
@pytest.mark.parametrize("lowering", ["auto", "stock"])
def test_gradient_of_relu_is_that_of_its_spelling_large_or_small(relu, at_zero, lowering):
    for shape in ((2, 3), (64, 16, 8, 8)):
        x = QTensor(jnp.zeros(shape).at[0].set(0.5).at[1].set(-0.5), jnp.float32(64), 8)
        qmodel, variables = prepared(OnArguments(relu), x, config={"lowering": lowering})

        def total(value, qmodel=qmodel, variables=variables, x=x):
            return jnp.sum(qmodel.apply(variables, QTensor(value, x.scale, 8), mutable=["quant"])[0])

        slope = np.asarray(jax.grad(total)(x.value))
        assert (slope[0] == 1.0).all()
        assert (slope[1] == 0.0).all()
        assert (slope[2:] == at_zero).all()
