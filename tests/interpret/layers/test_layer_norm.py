"""The quantized LayerNorm (docs/specification/layers.md section 6) under ``chip``."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linger_jax
from linger_jax import LingerWarning, QTensor
from linger_jax.errors import PlatformLimitError
from linger_jax.numerics.normalization import EXECUTOR_ROWS, KERNEL_ROWS
from tests.interpret.steps import REFERENCE, TQT, quantized, same_bits, scale_for, trained
from tests.models import prepared, random_array
from tests.numerics.normalization.test_integer_layer_norm import plain

X = random_array(0, 6, 12)
LINGER = {"quant_info": {"arithmetic": "linger"}}


def layer(**options):
    return nn.LayerNorm(epsilon=1e-5, **options)


def by_hand(x, x_scale, w, w_scale, b, arithmetic=KERNEL_ROWS):
    """Steps 1 to 7: the layer's result before its output quantizer."""
    steps, one = np.rint(np.asarray(x) * x_scale).astype(int), np.float32(arithmetic.one)
    y = np.float32([plain(row, x_scale, arithmetic) for row in steps.tolist()])
    whole = np.clip(np.rint(np.asarray(w) * w_scale), -128, 127).astype(np.float32)
    shift = np.rint(np.float32(b) * one * np.float32(w_scale))
    return ((y * whole).astype(np.float32) + shift).astype(np.float32) / (one * w_scale)


@pytest.mark.parametrize(("use_scale", "use_bias"), [(True, True), (True, False), (False, True), (False, False)])
def test_the_layer_by_hand_with_and_without_scale_and_bias(use_scale, use_bias):
    """Without bias the reference makes a trainable one and drops its key; without both it fails."""
    qmodel, variables = prepared(layer(use_scale=use_scale, use_bias=use_bias), X, config=LINGER)
    params = variables["params"] = dict(variables.get("params", {}))
    params |= {"scale": random_array(1, 12)} if use_scale else {}
    params |= {"bias": random_array(2, 12)} if use_bias else {}
    y, updates = qmodel.apply_qtensor(variables, X, mutable=["quant"])
    scale = {name: float(entry["scale"]) for name, entry in updates["quant"].items()}
    assert set(scale) == {f"{role}_quantizer" for role in ("input", "weight", "bias", "output")}
    assert scale["bias_quantizer"] == 1.0  # its state takes no part
    x = quantized(X, scale_for(np.abs(X).max()))
    w, b = params.get("scale", np.ones(12)), params.get("bias", np.zeros(12))
    exact = by_hand(x, scale["input_quantizer"], w, scale["weight_quantizer"], b)
    np.testing.assert_array_equal(y.value, quantized(np.clip(exact, -8, 8), float(y.scale)))


EXECUTOR = {"platform": "arcs", "quant_info": {"arithmetic": "executor"}}


def test_the_executor_s_arithmetic_by_hand_in_training_evaluation_and_integers():
    """docs/specification/executor.md section 3.3."""
    qmodel, variables = prepared(layer(), X, config=EXECUTOR)
    variables["params"] = {"scale": random_array(1, 12), "bias": random_array(2, 12)}
    y, updates = qmodel.apply_qtensor(variables, X, mutable=["quant"])
    scale = {name: float(entry["scale"]) for name, entry in updates["quant"].items()}
    x, params = quantized(X, scale["input_quantizer"]), variables["params"]
    grids = scale["input_quantizer"], params["scale"], scale["weight_quantizer"], params["bias"]
    exact = by_hand(x, grids[0], *grids[1:], EXECUTOR_ROWS)
    np.testing.assert_array_equal(y.value, quantized(np.clip(exact, -8, 8), float(y.scale)))
    after = {**variables, **updates}
    evaluated = qmodel.apply(after, X)
    np.testing.assert_array_equal(evaluated, quantized(exact, scale["output_quantizer"]))
    np.testing.assert_array_equal(qmodel.apply(after, X, mode="integer"), evaluated)


@pytest.mark.parametrize(
    ("platform", "features", "reason"),
    [
        ("venus", 12, "arithmetic linger: venus has no measured LayerNorm"),
        ("arcs", 362, "arithmetic linger: the executor's rows hold at most 361 values of 8 bits"),
    ],
)
def test_where_the_executor_has_no_such_rows_the_plan_says_so(platform, features, reason):
    x = np.zeros((2, features), np.float32)
    qmodel = linger_jax.init(layer(), {**EXECUTOR, "platform": platform})
    floats = jax.eval_shape(layer().init, jax.random.key(0), x)
    (row,) = qmodel.plan(floats, x).rows()
    assert (row.status, row.reason) == ("quantized", reason)


@pytest.mark.parametrize("axes", [(-2, -1), (0, 1, 2)])
def test_trailing_axes_are_one_row(axes):
    x = random_array(3, 2, 3, 4)
    qmodel, variables = prepared(layer(reduction_axes=axes, feature_axes=axes), x)
    assert [r.status for r in qmodel.plan(variables, x).rows()] == ["quantized"]
    y, updates = jax.jit(lambda v, x: qmodel.apply_qtensor(v, x, mutable=["quant"]))(variables, x)
    flat, flat_variables = prepared(layer(), x.reshape(*x.shape[: 3 - len(axes)], -1))
    wanted = flat.apply_qtensor(flat_variables, x.reshape(*x.shape[: 3 - len(axes)], -1), mutable=["quant"])[0]
    np.testing.assert_array_equal(np.ravel(y.value), np.ravel(wanted.value))
    assert updates["quant"]["weight_quantizer"]["is_init"]


@pytest.mark.parametrize("in_axis", [0, 1, 2])
def test_mapped_over_a_further_axis_it_is_one_layer(in_axis):
    mapped = nn.vmap(
        nn.LayerNorm, variable_axes={"params": None}, split_rngs={"params": False}, in_axes=in_axis, out_axes=in_axis
    )(epsilon=1e-5)
    x = random_array(3, 2, 3, 4)
    qmodel, variables = prepared(mapped, x)
    (row,) = qmodel.plan(variables, x).rows()
    assert (row.status, row.reason) == ("quantized", "")
    y = jax.jit(lambda v, x: qmodel.apply(v, x, mutable=["quant"])[0])(variables, x)
    plain_model, plain_variables = prepared(layer(), jnp.moveaxis(x, in_axis, 0))
    wanted = plain_model.apply(plain_variables, jnp.moveaxis(x, in_axis, 0), mutable=["quant"])[0]
    np.testing.assert_array_equal(jnp.moveaxis(y, in_axis, 0), wanted)


class Masked(nn.Module):
    @nn.compact
    def __call__(self, x):
        return layer()(nn.Dense(4)(x), mask=jnp.ones(x.shape, bool))


FLOAT = {
    "reduction_axes 1: only trailing axes are supported": nn.Sequential([nn.Dense(4), layer(reduction_axes=1)]),
    r"feature_axes -1 are not the reduction_axes \(1, 2\)": nn.Sequential([nn.Dense(4), layer(reduction_axes=(1, 2))]),
    "a mask is not supported": Masked(),
}


@pytest.mark.parametrize("reason", FLOAT)
def test_what_the_kernel_cannot_do_is_float_with_the_reason_and_can_be_constrained(reason):
    x = random_array(4, 2, 4, 4)
    variables = FLOAT[reason].init(jax.random.key(0), x)
    row = linger_jax.init(FLOAT[reason]).plan(variables, x).rows()[1]
    assert (row.op, row.status) == ("LayerNorm", "float")
    assert re.match(reason, row.reason)
    assert linger_jax.constrain(FLOAT[reason]).plan(variables, x).rows()[1].status == "constrained"


def test_another_epsilon_is_computed_as_the_chip_s_with_one_warning_for_all_layers():
    """The device has one epsilon; Flax's default is another."""
    model = nn.Sequential([nn.Dense(12), nn.LayerNorm(), nn.LayerNorm(epsilon=1e-3)])
    text = r"epsilon 1e-05, the only one the chip has, in layers_1, layers_2: write nn.LayerNorm\(epsilon=1e-05\)"
    with pytest.warns(LingerWarning, match=text) as caught:
        qmodel, variables = prepared(model, X)
    assert len(caught) == 1
    assert [r.reason for r in qmodel.plan(variables, X).rows()] == [
        "",
        "epsilon 1e-05 instead of 1e-06",
        "epsilon 1e-05 instead of 0.001",
    ]
    y = qmodel.apply(variables, X, mutable=["quant"])[0]
    same = linger_jax.init(nn.Sequential([nn.Dense(12), layer(), layer()]))
    same_bits(y, same.apply(variables, X, mutable=["quant"])[0])


def test_another_epsilon_is_silent_under_the_reference_and_when_constrained():
    prepared(nn.LayerNorm(), X, config=REFERENCE)
    linger_jax.constrain(nn.LayerNorm()).init(jax.random.key(0), X)


def test_rows_too_long_for_their_bits_are_refused_when_the_plan_is_built():
    """The reference reads outside its table."""
    x = jax.ShapeDtypeStruct((1, 32768), jnp.float32)
    variables = jax.eval_shape(layer().init, jax.random.key(0), x)
    linger_jax.init(layer()).plan(variables, x)
    wide = linger_jax.init(layer(), {"quant_info": {"activate_bits": 16}})
    with pytest.raises(PlatformLimitError, match=r"32768 values of 16 bits.*disable_submodel"):
        wide.plan(variables, x)


@pytest.mark.parametrize("config", [None, TQT], ids=["MOM", "TQT"])
def test_the_gradient_is_that_of_the_float_layer_at_the_quantized_values(config):
    qmodel, variables = prepared(layer(), X, config=config)
    params = {**variables["params"], "scale": random_array(1, 12), "bias": random_array(2, 12)}
    weights = random_array(5, 6, 12)

    def loss(params, x):
        y, updates = qmodel.apply({**variables, "params": params}, x, mutable=["quant"])
        return jnp.sum(y * weights), updates["quant"]

    (of_params, of_x), state = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(params, X)
    scale = {name: float(entry["scale"]) for name, entry in state.items()}
    x = jnp.asarray(quantized(X, scale["input_quantizer"]))
    inside = np.abs(np.asarray(X)) * scale["input_quantizer"] < 127.5
    w = np.rint(np.asarray(params["scale"]) * scale["weight_quantizer"])
    fake = {"scale": jnp.asarray(np.clip(w, -128, 127) / scale["weight_quantizer"]), "bias": params["bias"]}
    y, pull = jax.vjp(lambda p, x: nn.LayerNorm(epsilon=1e-5).apply({"params": p}, x), fake, x)
    passes = (jnp.abs(y) * scale["output_quantizer"] < 127.5) & (jnp.abs(y) <= 8)
    wanted_params, wanted_x = pull(jnp.where(passes, weights, 0.0))
    np.testing.assert_allclose(of_x, np.where(inside, wanted_x, 0.0), atol=2e-5)
    np.testing.assert_allclose(of_params["scale"], np.where(np.abs(w) < 128, wanted_params["scale"], 0.0), atol=1e-4)
    np.testing.assert_allclose(of_params["bias"], wanted_params["bias"], atol=1e-5)
    if config:
        assert float(np.abs(of_params["input_quantizer"]["learning_data"][0])) > 0


def test_a_constant_row_is_the_bias_and_its_gradient_is_finite():
    x = jnp.full((2, 12), 0.25)
    qmodel, variables = prepared(layer(), x)
    variables["params"]["bias"] = jnp.linspace(-1.0, 1.0, 12)

    def loss(x):
        y = qmodel.apply_qtensor(variables, x, mutable=["quant"])[0]
        return jnp.sum(y.value), y

    slope, y = jax.jit(jax.grad(loss, has_aux=True))(x)
    np.testing.assert_array_equal(y.value[0], quantized(variables["params"]["bias"], float(y.scale)))
    assert np.all(np.isfinite(slope))


def test_calibration_computes_the_float_layer_and_calibrates_the_bias_too():
    qmodel, variables = prepared(layer(), X)
    variables["params"]["bias"] = jnp.linspace(-1.0, 1.0, 12)
    with linger_jax.calibration():
        y, updates = qmodel.apply(variables, X, mutable=["quant"])
    np.testing.assert_allclose(y, layer().apply({"params": variables["params"]}, X), atol=1e-6)
    assert all(bool(entry["is_init"]) for entry in updates["quant"].values())


def test_evaluation_uses_the_stored_scales_and_an_input_that_is_quantized_keeps_its_own():
    qmodel, variables = prepared(layer(), X, config=LINGER)
    _, variables = trained(qmodel, variables, X)
    x = QTensor(jnp.asarray(quantized(X, 16.0)), jnp.float32(16), 8)
    y = qmodel.apply_qtensor(variables, x)
    scale = {name: float(entry["scale"]) for name, entry in variables["quant"].items()}
    exact = by_hand(x.value, 16.0, np.ones(12), scale["weight_quantizer"], np.zeros(12))
    np.testing.assert_array_equal(y.value, quantized(exact, scale["output_quantizer"]))


def test_the_same_bits_with_and_without_jit_and_x64():
    qmodel, variables = prepared(layer(), X)

    def step(variables, x):
        return qmodel.apply(variables, x, mutable=["quant"])

    compiled = jax.jit(step)(variables, X)
    same_bits(step(variables, X), compiled)
    with jax.enable_x64(True):
        same_bits(step(variables, X), compiled)
