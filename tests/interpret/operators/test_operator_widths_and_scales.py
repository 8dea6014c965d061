"""Defects of operators of several operands, mended and as in the reference (docs/specification/ops.md section 8)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linger_jax
from linger_jax import LingerWarning, QTensor
from linger_jax.errors import UnsupportedError
from tests.interpret.operators.test_operators import run
from tests.interpret.steps import REFERENCE, TQT, quantized, same_bits, scale_for
from tests.models import OnArguments, drawn, initialised, on_grid, prepared

A, B, C = on_grid(0, 64.0, 3, 4), on_grid(1, 16.0, 3, 4), on_grid(2, 32.0, 3, 4)


def state_paths(operator, *args, config=None):
    return [n for n in prepared(OnArguments(operator), *args, config=config)[1]["quant"] if n.startswith("_linger")]


@pytest.mark.parametrize(
    ("operator", "numpy_operator"),
    [
        (lambda x, y: x @ y.T, lambda x, y: x @ y.T),
        (lambda x, y: jnp.einsum("ab,cb->ca", x, y), lambda x, y: (x @ y.T).T),
        (lambda x, y: jnp.einsum("ab,ab->", x, y), lambda x, y: np.sum(x * y)),
        (lambda x, y: jnp.tensordot(x, y, axes=((0, 1), (0, 1))), lambda x, y: np.sum(x * y)),
        (lambda x, y: jnp.matmul(x[None], y.T[None]), lambda x, y: (x @ y.T)[None]),
        (lambda x, y: jnp.matmul(x, y[0]), lambda x, y: x @ y[0]),
        (lambda x, y: jnp.einsum("bxy,bzy->bxz", x[None], y[None]), lambda x, y: (x @ y.T)[None]),
    ],
    ids=["@", "transposed result", "full contraction", "tensordot", "batched", "vector", "einsum batched"],
)
def test_every_product_of_two_activations_is_a_matmul(operator, numpy_operator):
    output, state = run(operator, A, B)
    exact = numpy_operator(np.asarray(A.value), np.asarray(B.value))
    assert set(state["input_quantizer"]) == {"0", "1"}
    np.testing.assert_array_equal(output.value, quantized(exact, float(output.scale)))
    assert state_paths(operator, A, B) == ["_linger_qtensor_qmatmul_0"]


@pytest.mark.parametrize("join", [jnp.concatenate, jnp.stack])
def test_three_values_are_joined_with_an_input_quantizer_each(join):
    output, state = run(lambda *values: join(values), A, B, C)
    assert [float(state["input_quantizer"][str(i)]["scale"]) for i in range(3)] == [64.0, 16.0, 32.0]
    exact = join([A.value, B.value, C.value])
    np.testing.assert_array_equal(output.value, quantized(exact, float(output.scale)))


def test_joined_float_operand_goes_through_its_own_quantizer():
    plain = jnp.float32([[0.3, -0.7, 0.1, 0.2]])
    output, state = run(lambda x, y, z: jnp.concatenate([x, y, z]), A, plain, C)
    entry = state["input_quantizer"]["1"]
    assert float(entry["scale"]) == scale_for(0.7)
    exact = np.concatenate([A.value, quantized(plain, scale_for(0.7)), C.value])
    np.testing.assert_array_equal(output.value, quantized(exact, float(output.scale)))


def test_reference_joins_two_values_only_and_stacks_in_float():
    assert state_paths(lambda x, y: jnp.concatenate([x, y]), A, B, config=REFERENCE) == ["_linger_qtensor_qcat_0"]
    assert state_paths(lambda x, y: jnp.stack([x, y]), A, B, config=REFERENCE) == []
    with pytest.raises(UnsupportedError, match="linger concatenates two values, not 3"):
        state_paths(lambda x, y, z: jnp.concatenate([x, y, z]), A, B, C, config=REFERENCE)


def test_top_k_returns_grid_values_and_plain_indices():
    qmodel, variables = prepared(OnArguments(lambda x: jax.lax.top_k(x, 2)), A)
    values, indices = qmodel.apply_qtensor(variables, A, mutable=["quant"])[0]
    assert (float(values.scale), values.bits) == (64.0, 8)
    assert not isinstance(indices, QTensor)
    np.testing.assert_array_equal(values.value, jax.lax.top_k(A.value, 2)[0])


def test_operators_have_their_thresholds_from_the_start():
    _, variables = prepared(OnArguments(lambda x, y: jax.nn.softmax(x @ y.T)), A, B, config=TQT)
    for state_path, inputs in (("_linger_qtensor_qmatmul_0", {"0", "1"}), ("_linger_qtensor_qsoftmax_1", {"0"})):
        thresholds = variables["params"][state_path]
        assert set(thresholds["input_quantizer"]) == inputs
        assert thresholds["output_quantizer"]["learning_data"].shape == (1,)


class Owner(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(4, name="dense")(x) * 3.0


class Owners(nn.Module):
    @nn.compact
    def __call__(self, x):
        return Owner(name="other")(Owner(name="wide")(x))


@pytest.mark.parametrize(("config", "bits"), [({}, (6, 16)), (REFERENCE, (8, 8))])
def test_operator_takes_the_widths_of_its_owner_s_part(config, bits):
    part = {"name": ["wide"], "quant_info": {"input_bits": 6, "output_bits": 16}}
    qmodel = linger_jax.init(Owners(), {**config, "part1": part})
    x = jnp.ones((2, 4))
    plan = qmodel.plan(drawn(qmodel.model, x), x)
    state_path = ("wide", "_linger_qtensor_qmul_0")
    found = (
        plan.quantizers[(*state_path, "input_quantizer", "1")].spec.bits,
        plan.quantizers[(*state_path, "output_quantizer")].spec.bits,
    )
    assert found == bits
    assert plan.quantizers[("other", "_linger_qtensor_qmul_0", "output_quantizer")].spec.bits == 8


@pytest.mark.parametrize(
    ("config", "mutable", "rounded"),
    [(TQT, False, False), ({**TQT, **REFERENCE}, ["quant"], False), ({**TQT, **REFERENCE}, False, True)],
    ids=["chip", "reference, training", "reference, evaluation"],
)
def test_sum_is_plain_in_calibration(config, mutable, rounded):
    """The reference, calibrating in evaluation mode, rounds the operands at an output scale that is still 1."""
    qmodel, variables = prepared(OnArguments(lambda x, y: x + y), A, B, config=config)
    with linger_jax.calibration():
        output, _ = qmodel.apply(variables, A, B, mutable=mutable)
    plain = np.asarray(A.value) + np.asarray(B.value)
    whole = np.floor(np.asarray(A.value) + 0.5) + np.floor(np.asarray(B.value) + 0.5)
    np.testing.assert_array_equal(output, whole if rounded else plain)


@pytest.mark.filterwarnings("ignore:.*it is clipped:linger_jax.LingerWarning")
@pytest.mark.parametrize("divisor", [3.0, -2.0, 8.0])
def test_division_by_a_number_is_multiplication_with_its_reciprocal(divisor):
    """As in attention's q / sqrt(d); the reciprocal is a constant operand like any other."""
    divided, state = run(lambda x: x / divisor, A)
    multiplied, other = run(lambda x: x * (1 / divisor), A)
    np.testing.assert_array_equal(divided.value, multiplied.value)
    jax.tree.map(np.testing.assert_array_equal, state, other)


def test_division_by_a_computed_constant_is_known_too():
    output, _ = run(lambda x: x / jnp.sqrt(jnp.float32(20.0)), A)
    np.testing.assert_array_equal(output.value, run(lambda x: x * (1 / np.float32(20**0.5)), A)[0].value)


def test_division_is_float_under_the_reference():
    assert state_paths(lambda x: x / 3.0, A, config=REFERENCE) == []
    qmodel, variables = prepared(OnArguments(lambda x: x / 3.0), A, config=REFERENCE)
    np.testing.assert_array_equal(qmodel.apply(variables, A, mutable=["quant"])[0], A.value / 3.0)


def test_clipped_constant_is_warned_about_once_with_its_place():
    qmodel = linger_jax.init(OnArguments(lambda x: x * 0.5 + 1.3))
    with pytest.warns(LingerWarning) as caught:
        variables = initialised(qmodel, A)
    assert [str(w.message).partition(": ")[2] for w in caught] == [
        "the constant 0.5 counts as 0.49609375: in 8 bits at scale 2^8 it is clipped",
        "the constant 1.29999995 counts as 0.9921875: in 8 bits at scale 2^7 it is clipped",
    ]
    assert "_linger_qtensor_qmul_0 at test_operator_widths_and_scales.py:" in str(caught[0].message)
    (row,) = (row for row in qmodel.plan(variables, A).rows() if row.op == "mul")
    assert row.reason.startswith("the constant 0.5 counts as 0.49609375")
    qmodel.apply(variables, A, mutable=["quant"])


def test_constants_that_fit_and_the_reference_do_not_warn():
    prepared(OnArguments(lambda x: x * 0.75 + -1.0), A)
    prepared(OnArguments(lambda x: x * 0.5), A, config=REFERENCE)


class SelfAttention(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Dense(8, name="entry")(x)
        return nn.MultiHeadDotProductAttention(num_heads=2, name="attention")(x)


@pytest.mark.filterwarnings("ignore:.*it is clipped:linger_jax.LingerWarning")
def test_attention_of_the_library_is_quantized_throughout():
    x = jax.random.normal(jax.random.key(0), (2, 5, 8))
    qmodel, variables = prepared(SelfAttention(), x)
    operators = ["mul_0", "matmul_1", "softmax_2", "matmul_3"]
    rows = qmodel.plan(variables, x).rows()
    assert [r.name for r in rows if "_linger" in r.name] == [f"attention._linger_qtensor_q{o}" for o in operators]
    assert {r.status for r in rows} == {"quantized"}
    trained, updates = qmodel.apply(variables, x, mutable=["quant"])
    evaluated = qmodel.apply({**variables, **updates}, x)
    real = SelfAttention().apply({"params": variables["params"]}, x)
    for output in (trained, evaluated):
        assert float(jnp.abs(output - real).mean()) < 0.05 * float(jnp.abs(real).max())


class CalledTwice(nn.Module):
    factor: float

    @nn.compact
    def __call__(self, x):
        dense = nn.Dense(4, name="dense")
        return dense(x), dense(self.factor * x)


def test_value_keeps_its_scale_when_its_layer_runs_again():
    x = jax.random.normal(jax.random.key(0), (6, 4))
    qmodel = linger_jax.init(CalledTwice(64.0))
    variables = qmodel.init(jax.random.key(0), x)
    first, second = qmodel.apply_qtensor(variables, x, mutable=["quant"])[0]
    gently, _ = linger_jax.init(CalledTwice(1.0)).apply_qtensor(variables, x, mutable=["quant"])[0]
    assert float(first.scale) > float(second.scale)
    same_bits(first, gently)


def test_operators_have_a_two_sided_statistic_whatever_layers_have():
    config = {"quant_info": {"activation_type": "Relu"}}
    qmodel, variables = prepared(OnArguments(lambda x: jnp.tanh(x - 0 * x) * x), A, config=config)
    specs = {path: q.spec for path, q in qmodel.plan(variables, A).quantizers.items() if path[0].startswith("_linger")}
    assert {spec.activation_type.value for spec in specs.values()} == {"none"}
    output, state = run(lambda x: x * 3.0, QTensor(-jnp.abs(A.value), A.scale, 8))
    assert float(state["output_quantizer"]["running_data"]) == 3 * float(jnp.abs(A.value).max())
    assert float(output.value.min()) < 0


class Dropped(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dropout(0.25, deterministic=False)(nn.Dense(4, name="dense")(x))


def test_dropout_keeps_the_scale_of_what_it_divides():
    """The kept scale no longer describes the grid of what is left (the reference's numbers)."""
    x = jax.random.normal(jax.random.key(0), (6, 4))
    rngs = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    qmodel = linger_jax.init(Dropped())
    variables = qmodel.init(rngs, x)
    output, updates = qmodel.apply_qtensor(variables, x, mutable=["quant"], rngs={"dropout": rngs["dropout"]})
    assert float(output.scale) == float(updates["quant"]["dense"]["output_quantizer"]["scale"])
    steps = np.asarray(output.value[output.value != 0]) * float(output.scale)
    np.testing.assert_allclose(steps * 0.75, np.rint(steps * 0.75), atol=1e-4)
    assert (steps != np.rint(steps)).any()
