"""Products of quantized operands keep every bit on TF32 and bfloat16 units: the widths decide the precision asked for.

Nothing is run: CPUs compute in float32 whatever is asked, so what counts is what stands in the traced and in the
lowered program.
"""

import re

import flax.linen as nn
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import linger_jax
from linger_jax.compat import equations, operation
from linger_jax.nn import SparifyFFN
from tests.models import Calls, Scanned, prepared, random_array

HIGHEST = (jax.lax.Precision.HIGHEST,) * 2
HIGH = (jax.lax.Precision.HIGH,) * 2
X = random_array(0, 2, 8)
IMAGE = random_array(1, 2, 6, 6, 4)
STEPS = random_array(2, 2, 3, 8)


class OwnProduct(nn.Module):
    """A layer that is written as its product."""

    @nn.compact
    def __call__(self, x):
        return x @ self.param("w", nn.initializers.lecun_normal(), (8, 3))


WIDTHS = pytest.mark.parametrize(
    ("activations", "weights", "asked"),
    [(8, 8, None), (8, 16, HIGHEST), (16, 8, HIGHEST), (9, 4, HIGHEST)],
)

LAYERS = {
    "Dense": (nn.Dense(3), X),
    "DenseGeneral": (nn.DenseGeneral((2, 3)), X),
    "Einsum": (nn.Einsum((8, 3), "bd,df->bf"), X),
    "Conv": (nn.Conv(5, (3, 3)), IMAGE),
    "pointwise Conv": (nn.Conv(5, (1, 1)), random_array(1, 2, 6, 6, 8)),
    "depthwise Conv": (nn.Conv(4, (3, 3), feature_group_count=4), IMAGE),
    "circular Conv": (nn.Conv(5, (3, 3), padding="CIRCULAR"), IMAGE),
    "ConvTranspose": (nn.ConvTranspose(3, (2, 2), strides=(2, 2)), IMAGE),
    "product of a parameter": (OwnProduct(), X),
    "SparifyFFN": (SparifyFFN(8, 16), STEPS),
}


OPERATORS = {
    "matmul": lambda x: x @ jnp.swapaxes(x, -1, -2),
    "einsum": lambda x: jnp.einsum("bsd,btd->bst", x, x),
    "dot_general": lambda x: jax.lax.dot_general(x, x, (((2,), (2,)), ((0,), (0,)))),
}


def asked_in(closed):
    """The precision of every product of floats in a jaxpr, inner ones included."""
    found = set()
    for eqn in equations(closed):
        multiplies = eqn.primitive.name in ("dot_general", "conv_general_dilated")
        if multiplies and jnp.issubdtype(eqn.invars[0].aval.dtype, jnp.floating):
            found.add(eqn.params["precision"])
        for inner in operation(eqn).jaxprs:
            found |= asked_in(inner)
    return found


def trained(model, x, activations, weights):
    """What a training step asks for."""
    config = {"quant_info": {"activate_bits": activations, "weight_bits": weights}}
    qmodel, variables = prepared(model, x, config=config)
    return asked_in(jax.make_jaxpr(lambda v, x: qmodel.apply(v, x, mutable=["quant"]))(variables, x))


@WIDTHS
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_asks_for_full_precision_where_an_operand_has_more_than_eight_bits(name, activations, weights, asked):
    assert trained(*LAYERS[name], activations, weights) == {asked}


@pytest.mark.parametrize(("bits", "asked"), [(8, None), (9, HIGHEST), (16, HIGHEST)])
@pytest.mark.parametrize("name", OPERATORS)
def test_a_product_of_two_activations_asks_for_it_too(name, bits, asked):
    model = Calls(lambda x: OPERATORS[name](nn.Dense(8)(x)))
    assert trained(model, STEPS, bits, 8) == {asked}


def test_products_of_integers_in_an_evaluation_ask_for_full_precision():
    qmodel, variables = prepared(nn.Conv(5, (3, 3)), IMAGE)
    asked = asked_in(jax.make_jaxpr(lambda v, x: qmodel.apply(v, x, mode="integer"))(variables, IMAGE))
    assert asked == {HIGHEST}


def test_a_quantized_input_brings_its_width():
    model = nn.Dense(3)
    qmodel, variables = prepared(model, X)
    wide = linger_jax.QTensor(X, np.float32(2.0**10), 16)
    assert asked_in(jax.make_jaxpr(qmodel.apply)(variables, wide)) == {HIGHEST}


@pytest.mark.parametrize("name", ["lstm", "gru"])
@pytest.mark.parametrize("bits", [8, 16])
def test_gates_ask_for_full_precision(name, bits):
    cell = nn.OptimizedLSTMCell(4) if name == "lstm" else nn.GRUCell(4)
    assert trained(nn.RNN(cell), STEPS, bits, bits) == {HIGHEST}


def test_steps_of_a_loop_ask_as_layers_do():
    model = Scanned(length=3)
    x = random_array(3, 2, 4)
    assert trained(model, x, 8, 8) == {None}
    assert trained(model, x, 16, 8) == {HIGHEST}


@pytest.mark.parametrize("make", [lambda p: nn.Dense(3, precision=p), lambda p: nn.Conv(3, (3,), precision=p)])
def test_the_precision_of_the_user_is_never_lowered(make):
    assert trained(make(jax.lax.Precision.HIGH), STEPS, 8, 8) == {HIGH}
    assert trained(make(jax.lax.Precision.HIGHEST), STEPS, 8, 8) == {HIGHEST}
    assert trained(make(jax.lax.Precision.HIGH), STEPS, 8, 16) == {HIGHEST}


LOWERED = {
    "Dense": (nn.Dense(3), X),
    "Conv": (nn.Conv(5, (3, 3)), IMAGE),
    "pointwise Conv": (nn.Conv(5, (1, 1)), random_array(1, 2, 6, 6, 8)),
    "SparifyFFN": (SparifyFFN(8, 16), STEPS),
}


@pytest.mark.parametrize("name", LOWERED)
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize(("bits", "forward"), [(8, "DEFAULT"), (16, "HIGHEST")])
def test_a_training_step_on_an_accelerator_is_exact_forward_and_as_asked_backward(name, platform, bits, forward):
    model, x = LOWERED[name]
    qmodel, variables = prepared(model, x, config={"quant_info": {"activate_bits": bits}})
    params = variables.pop("params")

    def loss(params, x):
        y, _ = qmodel.apply({"params": params, **variables}, x, mutable=["quant"])
        return y.sum()

    count = 3 if name == "SparifyFFN" else 1
    products = lowered(jax.grad(loss, (0, 1)), platform, params, x)
    assert sorted(products) == sorted([forward] * count + ["DEFAULT"] * 2 * count)


def lowered(function, platform, *operands):
    """The precision of every product of the program for a platform."""
    text = jax.export.export(jax.jit(function), platforms=[platform])(*operands).mlir_module()
    products = [line for line in text.splitlines() if re.search(r"stablehlo\.(dot_general|convolution)", line)]
    return [(re.findall(r"HIGHEST|HIGH", line) or ["DEFAULT"])[0] for line in products]
