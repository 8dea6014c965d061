"""A product of a parameter computes what the known layer of the same product computes, bit for bit.

Source: docs/decisions.md D23.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linger_jax
from linger_jax.errors import StateError
from tests.interpret.steps import TQT, gradients, quantized, same_bits, scale_for, trained
from tests.models import drawn, prepared, random_array

X = random_array(0, 6, 5)
IMAGE = random_array(1, 2, 6, 6, 4)
CONFIGS = pytest.mark.parametrize("config", [None, TQT], ids=["MOM", "TQT"])


class ByHand(nn.Module):
    """A layer as its product: ``kernel`` in the form it is stored in, and ``bias``."""

    multiply: object
    kernel_shape: tuple
    bias_shape: tuple | None

    @nn.compact
    def __call__(self, x):
        y = self.multiply(x, self.param("kernel", nn.initializers.lecun_normal(), self.kernel_shape))
        if self.bias_shape is None:
            return y
        bias = self.param("bias", nn.initializers.normal(0.1), self.bias_shape)
        return y + jnp.expand_dims(bias, tuple(range(y.ndim - bias.ndim)))


def convolve(x, w):
    return jax.lax.conv_general_dilated(
        x, w, (2, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=2
    )


TWINS = {
    "Dense": (ByHand(lambda x, w: x @ w, (5, 3), (3,)), nn.Dense(3), X, jnp.asarray),
    "Dense without bias": (ByHand(lambda x, w: x @ w, (5, 3), None), nn.Dense(3, use_bias=False), X, jnp.asarray),
    "Dense stored transposed": (ByHand(lambda x, w: x @ w.T, (3, 5), (3,)), nn.Dense(3), X, jnp.transpose),
    "Dense on the left": (
        ByHand(lambda x, w: jnp.einsum("fd,bd->bf", w, x), (3, 5), (3,)),
        nn.Dense(3),
        X,
        jnp.transpose,
    ),
    "DenseGeneral": (
        ByHand(lambda x, w: jnp.einsum("bd,dnh->bnh", x, w), (5, 2, 3), (2, 3)),
        nn.DenseGeneral((2, 3)),
        X,
        jnp.asarray,
    ),
    "Conv": (
        ByHand(convolve, (3, 3, 2, 4), (4,)),
        nn.Conv(4, (3, 3), (2, 1), feature_group_count=2),
        IMAGE,
        jnp.asarray,
    ),
}


def apart(collection):
    """The layer's quantizers as the known layer has them: with the parameters, not under the parameter's name."""
    inside = dict(collection)
    own = inside.pop("_linger_kernel", None) or {}
    if not hasattr(inside.get("kernel"), "shape"):
        own = inside.pop("kernel")
    return {**inside, **own}


def as_twin(variables, turn):
    """Variables of the product as the known layer's."""
    params = apart(variables["params"]) if "_linger_kernel" in variables["params"] else dict(variables["params"])
    return {"params": {**params, "kernel": turn(params["kernel"])}, "quant": apart(variables["quant"])}


@pytest.mark.parametrize(
    ("name", "config"),
    [*((name, None) for name in TWINS), ("Dense", TQT), ("Conv", TQT)],
    ids=[*TWINS, "Dense, TQT", "Conv, TQT"],
)
def test_product_trains_and_evaluates_like_the_known_layer(name, config):
    model, layer, x, turn = TWINS[name]
    product, variables = prepared(model, x, config=config)
    twin = linger_jax.init(layer, config)
    variables = linger_jax.calibrate(product, variables, [x], progress=False)
    x = random_array(10, *x.shape)
    others = with_unused_bias(twin, as_twin(variables, turn), x)
    slopes = as_twin({"params": gradients(product, variables, x), "quant": variables["quant"]}, turn)["params"]
    same_bits(slopes, {k: v for k, v in gradients(twin, others, x).items() if k in slopes})
    output, variables = trained(product, variables, x)
    wanted, after = trained(twin, others, x)
    same_bits(output, wanted)
    same_bits(as_twin(variables, turn)["quant"], after["quant"])
    same_bits(product.apply(variables, x), twin.apply(after, x))


def with_unused_bias(twin, variables, x):
    """Variables with the entries of quantizers that the known layer keeps and never uses."""
    fresh = twin.adopt({"params": variables["params"]}, x)
    return {c: {**fresh[c], **variables[c]} for c in ("params", "quant")}


@CONFIGS
def test_product_calibrates_like_the_known_layer(config):
    model, layer, x, turn = TWINS["Dense stored transposed"]
    product, variables = prepared(model, 3.0 * x, config=config)
    twin = linger_jax.init(layer, config)
    other = twin.adopt({"params": as_twin(variables, turn)["params"]}, x)
    same_bits(as_twin(variables, turn), other)
    calibrated = linger_jax.calibrate(product, variables, [x, 2.0 * x], progress=False)
    same_bits(as_twin(calibrated, turn), linger_jax.calibrate(twin, other, [x, 2.0 * x], progress=False))


# --- layers of Flax that are such products ----------------------------------------------------------------------------

FLAX_LAYERS = {
    "Einsum": nn.Einsum((6, 4, 5), "bhwc,wcd->bhwd"),
    "DenseGeneral over a batch": nn.DenseGeneral(3, axis=-1, batch_dims=(0, 1)),
    "ConvLocal": nn.ConvLocal(3, (3, 2), (2, 1), "CIRCULAR"),
}


@pytest.mark.parametrize("name", FLAX_LAYERS)
def test_layer_is_the_float_one_on_quantized_operands(name):
    model = FLAX_LAYERS[name]
    config = {"clamp_info": {"clamp_activation_value": None}}
    qmodel, variables = prepared(model, IMAGE, config=config)
    variables["params"]["bias"] = random_array(3, *variables["params"]["bias"].shape)
    output, updates = qmodel.apply_qtensor(variables, IMAGE, mutable=["quant"])
    scales = {name: np.float32(entry["scale"]) for name, entry in updates["quant"].items()}
    kernel, bias = (np.asarray(variables["params"][name]) for name in ("kernel", "bias"))
    fake = {
        "kernel": np.clip(np.rint(kernel * scales["weight_quantizer"]), -128, 127) / scales["weight_quantizer"],
        "bias": np.rint(bias * scales["bias_quantizer"]) / scales["bias_quantizer"],
    }
    x = jnp.asarray(quantized(IMAGE, scales["input_quantizer"]))
    exact = model.apply({"params": jax.tree.map(jnp.asarray, fake)}, x)
    np.testing.assert_array_equal(output.value, quantized(exact, scales["output_quantizer"]))
    off = linger_jax.init(nn.Sequential([model, nn.Dense(2)]), {"custom_layers": False})
    params = off.model.init(jax.random.key(0), IMAGE)
    row = off.plan(params, IMAGE).rows()[0]
    assert (row.status, row.reason) == ("disabled", "disabled by custom_layers: false")


# --- clamps (docs/decisions.md D24) -----------------------------------------------------------------------------------

CLAMPED = np.float32(10 / 15) * np.float32(7)  # factor * mean|w| of 5 x 3 weights
LINGERS: dict = {"clamp_info": {}}
"""The section with linger's limits."""


@pytest.mark.filterwarnings("ignore:clamps cut values:linger_jax.LingerWarning")
def test_weight_is_clamped_like_a_dense_layer_s_and_returned_by_init():
    model, layer, x, _ = TWINS["Dense"]
    kernel = jnp.zeros((5, 3)).at[0, 0].set(10.0)
    params = {"kernel": kernel, "bias": jnp.zeros(3)}
    adopted = linger_jax.init(model, LINGERS).adopt({"params": params}, x)
    same_bits(adopted["params"], linger_jax.init(layer, LINGERS).adopt({"params": params}, x)["params"])
    assert float(adopted["params"]["kernel"][0, 0]) == CLAMPED
    assert bool(adopted["quant"]["kernel"]["weight_quantizer"]["is_init_mom_clamp_weight"])


def test_first_training_step_reports_the_clamped_weight():
    model, _, x, _ = TWINS["Dense"]
    qmodel, variables = prepared(model, x, config=LINGERS)
    variables["params"]["kernel"] = jnp.zeros((5, 3)).at[0, 0].set(10.0)
    variables["quant"]["kernel"]["weight_quantizer"]["is_init_mom_clamp_weight"] = jnp.asarray(False)
    _, updates = qmodel.apply(variables, x, mutable=["quant", "params"])
    assert float(updates["params"]["kernel"][0, 0]) == CLAMPED


def test_constrained_product_clips_weight_bias_and_output():
    model, layer, x, _ = TWINS["Dense"]
    config = {"clamp_info": {"clamp_factor_value": 0.5, "clamp_bias_value": 0.05, "clamp_activation_value": 0.25}}
    variables = drawn(model, x)
    one, other = (linger_jax.constrain(m, config).apply(variables, x) for m in (model, layer))
    same_bits(one, other)
    assert np.abs(one).max() == 0.25


# --- one scale for the stored tensor ---------------------------------------------------------------------------------


class Part(nn.Module):
    """A product with a part of a parameter whose other part is much larger."""

    @nn.compact
    def __call__(self, x):
        return x @ self.param("w", lambda key, shape: jnp.asarray([[0.3] * 4, [40.0] * 4]).T, (4, 2))[:, :1]


def test_slice_of_a_parameter_is_quantized_at_the_whole_parameter_s_scale():
    x = jnp.ones((2, 4))
    qmodel = linger_jax.init(Part())
    variables = qmodel.init(jax.random.key(0), x)
    _, updates = qmodel.apply(variables, x, mutable=["quant"])
    assert float(updates["quant"]["w"]["weight_quantizer"]["scale"]) == scale_for(40.0)


def test_indexed_stack_of_parameters_has_one_scale_and_a_scanned_one_a_scale_each():
    weights = jnp.stack([jnp.eye(4), 10.0 * jnp.eye(4), 0.1 * jnp.eye(4)])

    class Indexed(nn.Module):
        @nn.compact
        def __call__(self, x):
            w = self.param("w", lambda key: weights)
            for i in range(3):
                x = x @ w[i]
            return x

    class Scanned(nn.Module):
        @nn.compact
        def __call__(self, x):
            return jax.lax.scan(lambda x, w: (x @ w, None), x, self.param("w", lambda key: weights))[0]

    scales = {}
    for model in (Indexed(), Scanned()):
        qmodel = linger_jax.init(model)
        variables = qmodel.init(jax.random.key(0), jnp.ones((2, 4)))
        _, updates = qmodel.apply(variables, jnp.ones((2, 4)), mutable=["quant"])
        scales[type(model)] = np.asarray(updates["quant"]["w"]["weight_quantizer"]["scale"])
    assert scales[Indexed] == scale_for(10.0)
    np.testing.assert_array_equal(scales[Scanned], [scale_for(1.0), scale_for(10.0), scale_for(0.1)])


def test_scaled_weight_is_quantized_as_it_is_multiplied():
    class Scaled(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x @ (0.3 * self.param("w", nn.initializers.lecun_normal(), (5, 3)))

    qmodel, variables = prepared(Scaled(), X)
    output, updates = qmodel.apply_qtensor(variables, X, mutable=["quant"])
    scales = {name: float(entry["scale"]) for name, entry in updates["quant"]["w"].items()}
    w = np.float32(0.3) * np.asarray(variables["params"]["w"])
    assert scales["weight_quantizer"] == scale_for(np.abs(w).max())
    steps = np.clip(np.rint(w * np.float32(scales["weight_quantizer"])), -128, 127)
    exact = quantized(X, scales["input_quantizer"]) @ (steps / np.float32(scales["weight_quantizer"]))
    np.testing.assert_array_equal(output.value, quantized(exact, scales["output_quantizer"]))


class Steps(nn.Module):
    """Layers under ``nn.scan`` and ``nn.remat``: Dense, or its product written by hand."""

    by_hand: bool

    @nn.compact
    def __call__(self, x):
        def body(module, x, _):
            layer = (
                ByHand(lambda x, w: x @ w, (4, 4), (4,), name="layer") if module.by_hand else nn.Dense(4, name="layer")
            )
            return x + layer(x), None

        step = type("Step", (nn.Module,), {"__annotations__": {"by_hand": bool}, "__call__": nn.compact(body)})
        scan = nn.scan(
            nn.remat(step, prevent_cse=False), variable_axes={"params": 0}, split_rngs={"params": True}, length=3
        )
        return scan(self.by_hand, name="steps")(nn.Dense(4, name="entry")(x), None)[0]


@CONFIGS
def test_stack_of_products_computes_what_a_stack_of_dense_layers_computes(config):
    product, variables = prepared(Steps(True), X, config=config)
    twin = linger_jax.init(Steps(False), config)
    layer = variables["params"]["steps"]["layer"]
    floats = {k: layer[k] for k in ("kernel", "bias")}
    other = twin.adopt({"params": {"entry": variables["params"]["entry"], "steps": {"layer": floats}}}, X)
    for step in range(2):
        x = random_array(20 + step, 6, 5)
        output, variables = trained(product, variables, x)
        wanted, other = trained(twin, other, x)
        same_bits(output, wanted)
    same_bits(variables["quant"]["steps"]["layer"]["kernel"], other["quant"]["steps"]["layer"])
    same_bits(product.apply(variables, X), twin.apply(other, X))


# --- shared parameters -----------------------------------------------------------------------------------------------


class Tied(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        table = nn.Embed(7, 4, name="table")
        return table.attend(nn.Dense(4, name="body")(table(tokens)))


@CONFIGS
def test_tied_embedding_looks_up_and_multiplies_the_same_integers(config):
    tokens = jnp.array([[0, 3, 6], [2, 2, 5]])
    qmodel, variables = prepared(Tied(), tokens, config=config)
    variables = linger_jax.calibrate(qmodel, variables, [tokens], progress=False)
    for _ in range(2):
        _, variables = trained(qmodel, variables, tokens)
    output = qmodel.apply_qtensor(variables, tokens)
    quant = variables["quant"]["table"]
    assert set(quant) == {"weight_quantizer", "bias_quantizer", "embedding"}
    scale = float(quant["weight_quantizer"]["scale"])
    table = np.clip(np.rint(variables["params"]["table"]["embedding"] * scale), -128, 127) / np.float32(scale)
    body = linger_jax.init(nn.Dense(4), config)
    hidden = body.apply_qtensor(
        {c: variables[c]["body"] for c in ("params", "quant")},
        linger_jax.QTensor(jnp.asarray(table)[tokens], jnp.float32(scale), 8),
    )
    logits = quantized(np.asarray(hidden.value) @ table.T, float(quant["embedding"]["output_quantizer"]["scale"]))
    np.testing.assert_array_equal(output.value, logits)
    gradient = gradients(qmodel, variables, tokens)["table"]["embedding"]
    assert np.all(np.abs(gradient).sum(1) > 0), "rows that no token names learn through the product"


def test_thresholds_of_a_custom_layer_stand_beside_its_parameter_and_train():
    model, _, x, _ = TWINS["Dense"]
    qmodel, variables = prepared(model, x, config=TQT)
    assert set(variables["params"]) == {"kernel", "bias", "_linger_kernel"}
    labels = linger_jax.parameter_labels(variables["params"])
    assert set(jax.tree.leaves(labels["_linger_kernel"])) == {"threshold"}
    assert (labels["kernel"], labels["bias"]) == ("weight", "weight")
    variables = linger_jax.calibrate(qmodel, variables, [x], progress=False)
    slopes = gradients(qmodel, variables, x)["_linger_kernel"]
    assert float(jnp.abs(slopes["output_quantizer"]["learning_data"]).sum()) > 0
    again = qmodel.adopt(variables, x)
    assert jax.tree.structure(again) == jax.tree.structure(variables)


def test_state_of_a_custom_layer_that_is_missing_is_named():
    model, _, x, _ = TWINS["Dense"]
    qmodel, variables = prepared(model, x, config=TQT)
    del variables["params"]["_linger_kernel"]["input_quantizer"]
    with pytest.raises(StateError, match=r"params: _linger_kernel\.input_quantizer\.learning_data"):
        qmodel.apply(variables, x)
