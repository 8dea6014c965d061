"""Parameters multiplied outside known layers are followed to their product and listed (decision D23)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from linger_jax.plan import PlanError
from tests.plan.planned import planned, row_of, summary

X = jax.ShapeDtypeStruct((2, 4), jnp.float32)
IMAGE = jax.ShapeDtypeStruct((2, 6, 6, 4), jnp.float32)


class Product(nn.Module):
    """A product with a parameter; ``behind`` puts a quantized value in front of it."""

    multiply: object
    shape: tuple = (4, 4)
    behind: bool = False

    @nn.compact
    def __call__(self, x):
        w = self.param("w", nn.initializers.ones, self.shape)
        x = nn.Dense(4, name="layer")(x) if self.behind else x
        return self.multiply(x, w)


VIEWS = {
    "the parameter itself": (lambda x, w: x @ w, (4, 4)),
    "einsum": (lambda x, w: jnp.einsum("ab,bc->ac", x, w), (4, 4)),
    "transposed": (lambda x, w: x @ w.T, (4, 4)),
    "reshaped": (lambda x, w: x @ w.reshape(4, 4), (2, 8)),
    "a slice": (lambda x, w: x @ w[:, :2], (4, 4)),
    "cast twice": (lambda x, w: x @ w.astype(jnp.bfloat16).astype(jnp.float32), (4, 4)),
    "on the left": (lambda x, w: w @ x.T, (4, 4)),
    "inside a jit": (jax.jit(lambda x, w: x @ w), (4, 4)),
}
NAME = "product of parameter params.w: custom layers are not built yet"


@pytest.mark.parametrize("behind", [False, True], ids=["float operand", "quantized operand"])
@pytest.mark.parametrize("view", VIEWS)
def test_product_with_a_view_of_a_parameter_is_listed_as_a_custom_layer(view, behind):
    function, shape = VIEWS[view]
    row = row_of(planned(Product(function, shape, behind), X), "<root>")
    assert (row.op, row.status, row.reason) == ("dot_general", "float", NAME)


def test_convolution_with_a_parameter_is_listed_as_a_custom_layer():
    def convolve(x, w):
        return jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    row = row_of(planned(Product(convolve, (3, 3, 4, 2)), IMAGE), "<root>")
    assert (row.op, row.status, row.reason) == ("conv_general_dilated", "float", NAME)


def test_parameter_that_was_computed_with_is_no_view():
    plan = planned(Product(lambda x, w: x @ jnp.tanh(w), behind=True), X)
    assert summary(plan)[1:] == [("_linger_qtensor_qmatmul_0", "dot_general", "quantized")]


def test_tied_embedding_is_a_product_with_its_table():
    class Tied(nn.Module):
        @nn.compact
        def __call__(self, tokens):
            table = nn.Embed(5, 4, name="table")
            return table.attend(table(tokens))

    rows = planned(Tied(), jnp.array([[1, 2]])).rows()
    assert [(r.name, r.op, r.status) for r in rows] == [
        ("table", "Embed", "quantized"),
        ("table", "dot_general", "float"),
    ]
    assert rows[1].reason == "product of parameter params.table.embedding: custom layers are not built yet"


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


def test_strict_refuses_a_custom_layer_with_its_source_line():
    with pytest.raises(PlanError, match=r"(?s)strict: .*params\.w.*\(test_provenance\.py:\d+\)"):
        planned(Product(lambda x, w: x @ w), X, strict=True)


def test_statistics_are_not_taken_for_parameters():
    class Whitened(nn.Module):
        @nn.compact
        def __call__(self, x):
            matrix = self.variable("batch_stats", "matrix", lambda: jnp.ones((4, 4)))
            return nn.Dense(4, name="layer")(x) @ matrix.value

    plan = planned(Whitened(), X)
    assert summary(plan)[1:] == [("_linger_qtensor_qmatmul_0", "dot_general", "quantized")]


def test_scanned_parameters_are_followed_into_the_loop():
    class Loop(nn.Module):
        @nn.compact
        def __call__(self, x):
            w = self.param("w", nn.initializers.ones, (3, 4, 4))
            return jax.lax.scan(lambda x, w: (x @ w, None), x, w)[0]

    assert row_of(planned(Loop(), X), "<root>").reason == NAME
