"""Products of parameters outside known layers are layers, followed through views to the parameter.

Source: docs/decisions.md D23.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linger_jax.errors import PlatformLimitError
from tests.plan.planned import planned, row_of, summary
from tests.plan.recognize.custom_products import Product, Twice, X

SEQUENCE = jax.ShapeDtypeStruct((2, 3, 4), jnp.float32)


IMAGE = jax.ShapeDtypeStruct((2, 6, 6, 4), jnp.float32)


class WithBias(nn.Module):
    """What a function makes of an input, a weight ``w`` and a bias ``b``."""

    function: object
    bias_shape: tuple = (4,)

    @nn.compact
    def __call__(self, x):
        w = self.param("w", nn.initializers.ones, (4, 4))
        return self.function(x, w, self.param("b", nn.initializers.ones, self.bias_shape))


VIEWS = {
    "the parameter itself": (lambda x, w: x @ w, (4, 4)),
    "einsum": (lambda x, w: jnp.einsum("ab,bc->ac", x, w), (4, 4)),
    "einsum into heads": (lambda x, w: jnp.einsum("td,dnh->tnh", x, w), (4, 2, 3)),
    "einsum out of heads": (lambda x, w: jnp.einsum("tnh,nhd->td", x.reshape(2, 2, 2), w), (2, 2, 5)),
    "einsum over experts": (lambda x, w: jnp.einsum("td,edf->etf", x, w), (3, 4, 5)),
    "einsum of channels": (lambda x, w: jnp.einsum("td,d->td", x, w), (4,)),
    "transposed": (lambda x, w: x @ w.T, (4, 4)),
    "reshaped": (lambda x, w: x @ w.reshape(4, 4), (2, 8)),
    "a slice": (lambda x, w: x @ w[:, :2], (4, 4)),
    "split": (lambda x, w: x @ jnp.split(w, 2, axis=1)[1], (4, 4)),
    "one of a stack": (lambda x, w: x @ w[1], (3, 4, 4)),
    "one of a stack by a traced index": (lambda x, w: x @ w[jnp.argmax(x[0])], (4, 4, 4)),
    "taken from a stack": (lambda x, w: x @ jnp.take(w, jnp.argmax(x[0]), axis=0), (4, 4, 4)),
    "cast twice": (lambda x, w: x @ w.astype(jnp.bfloat16).astype(jnp.float32), (4, 4)),
    "times a number": (lambda x, w: x @ (0.5 * w), (4, 4)),
    "by a number": (lambda x, w: x @ (w / 3.0).T, (4, 4)),
    "repeated for a batch": (lambda x, w: jnp.matmul(x[:, None], jnp.broadcast_to(w[None], (2, 4, 4))), (4, 4)),
    "on the left": (lambda x, w: w @ x.T, (4, 4)),
    "inside a jit": (jax.jit(lambda x, w: x @ w), (4, 4)),
}


@pytest.mark.parametrize("behind", [False, True], ids=["float operand", "quantized operand"])
@pytest.mark.parametrize("view", VIEWS)
def test_product_with_a_view_of_a_parameter_is_a_custom_layer(view, behind):
    function, shape = VIEWS[view]
    plan = planned(Product(function, shape, behind), X)
    row = row_of(plan, "w")
    assert (row.op, row.status, row.bits, row.reason) == ("custom linear", "quantized", 8, "")
    assert row.source.startswith("test_custom_layers.py:")
    quantizers = {path[1]: quantizer for path, quantizer in plan.quantizers.items() if path[0] == "w"}
    assert set(quantizers) == {"input_quantizer", "weight_quantizer", "output_quantizer"}
    assert quantizers["input_quantizer"].active != behind
    stored = view not in ("cast twice", "times a number", "by a number")
    assert quantizers["weight_quantizer"].parameter == (("params", "w") if stored else None)


def convolve(x, w, strides=(1, 1), padding="SAME", **options):
    return jax.lax.conv_general_dilated(x, w, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"), **options)


def test_convolution_with_a_parameter_is_a_custom_layer():
    row = row_of(planned(Product(convolve, (3, 3, 4, 2)), IMAGE), "w")
    assert (row.op, row.status) == ("custom conv", "quantized")


def test_custom_convolution_keeps_to_the_platform_s_limits():
    with pytest.raises(PlatformLimitError, match=r"layer 'w': stride 3 is outside what venusA can run"):
        planned(Product(lambda x, w: convolve(x, w, (3, 1)), (3, 3, 4, 2)), IMAGE)
    with pytest.raises(PlatformLimitError, match=r"layer 'w': kernel 6 is outside what venus can run"):
        planned(Product(convolve, (6, 1, 4, 2)), IMAGE, config={"platform": "venus"})
    plan = planned(Product(lambda x, w: jax.lax.conv_transpose(x, w, (2, 2), "SAME"), (3, 3, 4, 2)), IMAGE)
    assert row_of(plan, "w").status == "quantized"


def test_convolution_over_three_axes_is_float_with_the_reason():
    volume = jax.ShapeDtypeStruct((2, 4, 4, 4, 4), jnp.float32)

    def convolve3d(x, w):
        return jax.lax.conv_general_dilated(x, w, (1,) * 3, "SAME", dimension_numbers=("NDHWC", "DHWIO", "NDHWC"))

    row = row_of(planned(Product(convolve3d, (3, 3, 3, 4, 2), behind=True), volume), "w")
    assert (row.status, row.reason) == ("float", "a convolution over 3 axes: only one or two are supported")


def test_product_in_half_precision_is_float_with_the_reason():
    def half(x, w):
        return x.astype(jnp.bfloat16) @ w.astype(jnp.bfloat16)

    row = row_of(planned(Product(half), X), "w")
    assert (row.status, row.reason) == ("float", "computes in bfloat16: quantization is exact in float32 only")


def test_parameter_that_was_computed_with_is_no_view():
    plan = planned(Product(lambda x, w: x @ jnp.tanh(w), behind=True), X)
    assert summary(plan)[1:] == [("_linger_qtensor_qmatmul_0", "dot_general", "quantized")]


def test_float_product_with_a_computed_weight_is_listed_with_the_parameter():
    row = row_of(planned(Product(lambda x, w: x @ jnp.tanh(w)), X), "<root>")
    assert (row.op, row.status) == ("dot_general", "float")
    assert row.reason == "its weight is computed from params.w, not a view of a parameter"


def test_product_of_parameters_alone_is_a_constant_and_no_layer():
    class LowRank(nn.Module):
        @nn.compact
        def __call__(self, x):
            a = self.param("a", nn.initializers.ones, (4, 2))
            b = self.param("b", nn.initializers.ones, (2, 4))
            return nn.Dense(4, name="layer")(x) + jnp.sum(a @ b)

    assert summary(planned(LowRank(), X)) == [
        ("layer", "Dense", "quantized"),
        ("_linger_qtensor_qadd_0", "add", "quantized"),
    ]


def test_looking_up_rows_of_a_parameter_makes_data_of_it():
    class Lookup(nn.Module):
        @nn.compact
        def __call__(self, tokens):
            table = self.param("table", nn.initializers.ones, (5, 4))
            return table[tokens] @ self.param("w", nn.initializers.ones, (4, 4))

    assert summary(planned(Lookup(), np.array([1, 2], np.int32))) == [("w", "custom linear", "quantized")]
    # One row, chosen by an index, could be either; beside a parameter that is there as a whole it is the data.
    assert summary(planned(Lookup(), np.array([1], np.int32))) == [("w", "custom linear", "quantized")]


# --- bias ------------------------------------------------------------------------------------------------------------

BIASES = {
    "x @ w + b": (lambda x, w, b: x @ w + b, (4,)),
    "b + x @ w": (lambda x, w, b: b + x @ w, (4,)),
    "reshaped": (lambda x, w, b: x @ w + b.reshape(4), (2, 2)),
    "broadcast": (lambda x, w, b: x @ w + jnp.broadcast_to(b, (2, 3, 4)), (4,)),
    "behind a transpose": (lambda x, w, b: jnp.einsum("btd,df->bft", x, w) + b[:, None], (4,)),
    "a scalar": (lambda x, w, b: x @ w + b, ()),
    "a row of a stack": (lambda x, w, b: x @ w + b[1], (3, 4)),
}


@pytest.mark.parametrize("form", BIASES)
def test_parameter_added_to_the_product_is_its_bias(form):
    function, shape = BIASES[form]
    with jax.numpy_rank_promotion("allow"):
        plan = planned(WithBias(function, shape), SEQUENCE)
    assert summary(plan) == [("w", "custom linear", "quantized")]
    assert plan.quantizers["w", "bias_quantizer"].parameter == ("params", "b")


def both(x, w, b):
    y = x @ w
    return y + b, y


OPERANDS = {
    "the product is read elsewhere": (both, (4,)),
    "an embedding of positions": (lambda x, w, b: x @ w + b, (3, 4)),
    "a computed parameter": (lambda x, w, b: x @ w + jnp.tanh(b), (4,)),
    "a scaled parameter": (lambda x, w, b: x @ w + 2.0 * b, (4,)),
    "after an activation": (lambda x, w, b: nn.relu(x @ w) + b, (4,)),
    "the input": (lambda x, w, b: x @ w + x, (4,)),
}


@pytest.mark.parametrize("form", OPERANDS)
def test_other_additions_are_operators(form):
    function, shape = OPERANDS[form]
    with jax.numpy_rank_promotion("allow"):
        rows = [row for row in planned(WithBias(function, shape), SEQUENCE).rows() if row.op != "relu"]
    assert [(row.name, row.op) for row in rows] == [("w", "custom linear"), ("_linger_qtensor_qadd_0", "add")]


def test_bias_of_a_custom_convolution():
    class Convolution(nn.Module):
        @nn.compact
        def __call__(self, x):
            w = self.param("w", nn.initializers.ones, (3, 3, 4, 2))
            return convolve(x, w) + self.param("b", nn.initializers.ones, (1, 1, 1, 2))

    plan = planned(Convolution(), IMAGE)
    assert summary(plan) == [("w", "custom conv", "quantized")]
    assert ("w", "bias_quantizer") in plan.quantizers


def test_each_product_is_a_layer_and_a_parameter_has_one_weight_quantizer():
    plan = planned(Twice(), X)
    assert [row.name for row in plan.rows()] == ["w", "w_1", "inner.w", "inner.w"]
    assert [".".join(path) for path in plan.quantizers] == [
        *(f"w.{q}_quantizer" for q in ("input", "weight", "output")),
        *(f"w_1.{q}_quantizer" for q in ("input", "output")),
        *(f"inner.w.{q}_quantizer" for q in ("input", "weight", "output")),
    ]
    assert [plan.quantizers[*name, "weight_quantizer"].visits for name in (("w",), ("inner", "w"))] == [2, 2]


def test_parts_of_one_parameter_with_other_bits_have_weight_quantizers_of_their_own():
    plan = planned(Twice(), X, config={"part": {"name": ["w_1"], "quant_info": {"weight_bits": 4}}})
    assert plan.quantizers["w", "weight_quantizer"].spec.bits == 8
    assert plan.quantizers["w_1", "weight_quantizer"].spec.bits == 4


def test_numbered_name_avoids_parameters_and_modules():
    class Crowded(nn.Module):
        @nn.compact
        def __call__(self, x):
            w = self.param("w", nn.initializers.ones, (4, 4))
            x = x @ self.param("w_1", nn.initializers.ones, (4, 4))
            return nn.Dense(4, name="w_2")(x @ w @ w)

    assert [row.name for row in planned(Crowded(), X).rows()] == ["w_1", "w", "w_3", "w_2"]


def test_parameters_in_a_tree_and_of_another_module_keep_their_names():
    class Tree(nn.Module):
        @nn.compact
        def __call__(self, x):
            tree = self.param("tree", lambda key: {"a": jnp.ones((4, 4)), "b": jnp.ones((4, 4))})
            return Child(name="child")(x @ tree["a"], tree["b"])

    class Child(nn.Module):
        @nn.compact
        def __call__(self, x, w):
            return x @ w

    assert [row.name for row in planned(Tree(), X).rows()] == ["tree.a", "child.b"]


def test_tied_embedding_is_a_product_with_its_quantized_table():
    class Tied(nn.Module):
        @nn.compact
        def __call__(self, tokens):
            table = nn.Embed(5, 4, name="table")
            return table.attend(table(tokens))

    plan = planned(Tied(), np.array([[1, 2]], np.int32))
    assert summary(plan) == [("table", "Embed", "quantized"), ("table.embedding", "custom linear", "quantized")]
    assert [".".join(path) for path in plan.quantizers] == [
        "table.weight_quantizer",
        "table.bias_quantizer",
        "table.embedding.input_quantizer",
        "table.embedding.output_quantizer",
    ]
    alone = planned(nn.Embed(5, 4), X, method="attend")
    assert [".".join(path) for path in alone.quantizers] == [
        "embedding.input_quantizer",
        "weight_quantizer",
        "embedding.output_quantizer",
    ]


def test_kernel_of_a_dense_layer_may_be_tied_to_a_product():
    class Tied(nn.Module):
        @nn.compact
        def __call__(self, x):
            dense = nn.Dense(4, name="dense")
            y = dense(x)
            return y @ dense.variables["params"]["kernel"].T

    plan = planned(Tied(), X)
    assert [row.name for row in plan.rows()] == ["dense", "dense.kernel"]
    assert ("dense", "kernel", "weight_quantizer") not in plan.quantizers
    assert plan.quantizers["dense", "weight_quantizer"].visits == 2
