"""Conversion, calibration, constrain mode and layers where linger 3.0.9 is wrong: what ``compat: chip`` does instead.

The defects of the configuration file and of single quantizers stand beside their modules' tests.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linger_jax
from linger_jax import LingerError, LingerWarning
from tests.models import drawn, initialised

KEY = jax.random.key(0)


def normal(*shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(sum(shape)), shape)


class Calls(nn.Module):
    """A model made of one function of the input."""

    function: object

    @nn.compact
    def __call__(self, x):
        return self.function(x)


class Two(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(4, name="second")(nn.relu(nn.Dense(4, name="first")(x)))


@pytest.fixture
def flax_promotion():
    """Flax's own avg_pool divides a float by an integer."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def calibrated(model, config, *batches):
    qmodel = linger_jax.init(model, config)
    variables = initialised(qmodel, batches[0])
    return qmodel, linger_jax.calibrate(qmodel, variables, batches, progress=False)


# --- conversion (docs/specification/config.md section 2) --------------------------------------------------------------


def test_a_root_module_that_is_itself_a_layer_is_quantized():
    qmodel = linger_jax.init(nn.Dense(3))
    variables = initialised(qmodel, normal(2, 5))
    assert set(variables["quant"]) == {"input_quantizer", "weight_quantizer", "bias_quantizer", "output_quantizer"}
    assert [row.status for row in qmodel.plan(variables, normal(2, 5)).rows()] == ["quantized"]


def test_one_module_used_in_two_places_has_one_set_of_quantizers():
    class Shared(nn.Module):
        def setup(self):
            self.layer = nn.Dense(4)
            self.alias = self.layer

        def __call__(self, x):
            return self.alias(self.layer(x))

    x = normal(2, 4)
    qmodel = linger_jax.init(Shared())
    variables = initialised(qmodel, x)
    assert set(variables["quant"]) == {"layer"}
    _, updates = qmodel.apply(variables, x, mutable=["quant"])
    first = linger_jax.init(nn.Dense(4))
    inner = {"params": variables["params"]["layer"], "quant": variables["quant"]["layer"]}
    _, once = first.apply(inner, x, mutable=["quant"])
    moved = updates["quant"]["layer"]["output_quantizer"]["running_data"]
    assert moved != once["quant"]["output_quantizer"]["running_data"], "the second call moves the statistic again"


def test_constrained_weights_flow_into_a_fresh_quantized_model():
    x = normal(2, 6)
    cmodel = linger_jax.constrain(Two(), {"clamp_info": {"clamp_factor_value": 1}})
    variables = initialised(cmodel, x)
    assert "quant" not in variables
    qmodel = linger_jax.init(Two())
    adopted = qmodel.adopt(variables, x)
    assert jax.tree.structure(linger_jax.constrain(Two()).adopt(adopted, x)) == jax.tree.structure(variables)


def test_disable_module_holds_for_one_call_only():
    x = normal(2, 6)
    with pytest.raises(LingerError, match="no layer to quantize"):
        linger_jax.init(Two(), disable_module=nn.Dense).init(KEY, x)
    assert set(linger_jax.init(Two()).init(KEY, x)["quant"]) == {"first", "second"}


def test_a_trailing_star_names_the_level_and_everything_below():
    class Outer(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Two(name="fc10")(Two(name="fc1")(x))

    qmodel = linger_jax.init(Outer(), disable_submodel=("fc1*",))
    assert set(qmodel.init(KEY, normal(2, 6))["quant"]) == {"fc10"}


def test_a_pattern_that_matches_nothing_warns_and_is_an_error_when_strict():
    x = normal(2, 6)
    with pytest.warns(LingerWarning, match=r"'sceond\*' matches no module.*second"):
        linger_jax.init(Two(), disable_submodel="sceond*").init(KEY, x)
    with pytest.raises(LingerError, match=r"'sceond\*' matches no module.*second"):
        linger_jax.init(Two(), disable_submodel="sceond*", strict=True).init(KEY, x)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"kernel_size": (13, 1)}, r"kernel 13 .*venusA.*1 to 12"),
        ({"kernel_size": (3, 3), "strides": (3, 3)}, r"stride 3 .*venusA.*1, 2, 4"),
        ({"kernel_size": (3, 3), "padding": ((12, 0), (0, 0))}, r"padding 12 .*venusA.*0 to 11"),
    ],
)
def test_platform_limits_name_layer_platform_value_and_range(arguments, text):
    def model(x):
        return nn.Conv(2, name="stem", **arguments)(x)

    with pytest.raises(LingerError, match=r"stem.*" + text):
        linger_jax.init(Calls(model)).init(KEY, normal(1, 16, 16, 1))


def test_padding_strings_are_resolved_to_numbers_and_checked():
    x = normal(1, 32, 32, 1)
    assert linger_jax.init(nn.Conv(2, (5, 5), padding="SAME")).init(KEY, x)["quant"]
    wide = nn.Conv(2, (12, 12), padding="SAME", kernel_dilation=(3, 3))
    with pytest.raises(LingerError, match=r"padding 1[67]"):
        linger_jax.init(wide).init(KEY, x)


# --- calibration (docs/specification/config.md section 4) -------------------------------------------------------------


def test_calibration_works_under_mom_and_leaves_usable_scales():
    x = normal(64, 6)
    qmodel, variables = calibrated(nn.Dense(4), {"quant_info": {"a_calibrate_name": "abs_max"}}, x)
    entries = variables["quant"]["input_quantizer"]
    assert entries["is_init"]
    assert entries["running_data"] == jnp.abs(x).max()
    assert entries["scale"] == 2.0 ** np.rint(7 - np.log2(np.abs(x).max()))
    gap = jnp.abs(qmodel.apply(variables, x) - nn.Dense(4).apply({"params": variables["params"]}, x)).max()
    assert gap < 0.15


@pytest.mark.parametrize("method", ["MOM", "TQT"])
def test_calibration_writes_the_bias_scale_as_the_product_of_input_and_weight_scales(method):
    _, variables = calibrated(nn.Dense(4), {"quant_info": {"qat_method": method}}, normal(8, 6))
    scales = {name: entries["scale"] for name, entries in variables["quant"].items()}
    assert scales["bias_quantizer"] == scales["input_quantizer"] * scales["weight_quantizer"]


def test_an_unknown_calibration_method_names_the_known_ones():
    with pytest.raises(LingerError, match=r"(?s)median.*abs_max.*top_10.*w_like"):
        calibrated(nn.Dense(4), {"quant_info": {"a_calibrate_name": "median"}}, normal(8, 6))


def test_calibrating_twice_is_refused_and_changes_nothing():
    x = normal(8, 6)
    qmodel, variables = calibrated(nn.Dense(4), None, x)
    before = jax.tree.map(np.asarray, variables)
    with pytest.raises(LingerError, match=r"has been calibrated.*input_quantizer"):
        linger_jax.calibrate(qmodel, variables, [x], progress=False)
    jax.tree.map(np.testing.assert_array_equal, before, variables)


@pytest.mark.usefixtures("flax_promotion")
def test_average_pooling_calibrates_on_the_plain_average():
    x = 40.0 * normal(2, 8, 8, 3)

    def model(x):
        return nn.Dense(2)(nn.avg_pool(x, (2, 2), (2, 2)))

    _, variables = calibrated(Calls(model), {"quant_info": {"a_calibrate_name": "abs_max"}}, x)
    output = variables["quant"]["Dense_0"]["output_quantizer"]["running_data"]
    unclipped = nn.Dense(2).apply({"params": variables["params"]["Dense_0"]}, nn.avg_pool(x, (2, 2), (2, 2)))
    assert output == jnp.minimum(jnp.abs(unclipped).max(), 8.0)


def test_an_addition_calibrates_on_the_plain_sum():
    def model(x):
        return nn.Dense(4, name="a")(x) + nn.Dense(4, name="b")(x)

    x = normal(32, 5)
    _, variables = calibrated(Calls(model), {"quant_info": {"a_calibrate_name": "abs_max"}}, x)
    parts = [jnp.clip(nn.Dense(4).apply({"params": variables["params"][name]}, x), -8.0, 8.0) for name in ("a", "b")]
    entries = variables["quant"]["_linger_qtensor_qadd_0"]["output_quantizer"]
    assert entries["running_data"] == jnp.abs(parts[0] + parts[1]).max()


# --- constrain (docs/specification/config.md section 5) ---------------------------------------------------------------


def test_constraining_keeps_running_statistics():
    x = normal(8, 6)
    model = nn.BatchNorm(use_running_average=True)
    variables = drawn(model, x)
    variables["batch_stats"] = {"mean": jnp.full(6, 0.5), "var": jnp.full(6, 2.0)}
    adopted = linger_jax.constrain(model).adopt(variables, x)
    jax.tree.map(np.testing.assert_array_equal, adopted["batch_stats"], variables["batch_stats"])


@pytest.mark.parametrize(
    "layer",
    [
        nn.LayerNorm(use_bias=False, use_scale=False),
        nn.BatchNorm(use_running_average=False, use_bias=False, use_scale=False),
    ],
    ids=["LayerNorm", "BatchNorm"],
)
def test_norms_without_affine_parameters_work_under_clamps(layer):
    x = 20.0 * normal(16, 6)
    clamps = {"clamp_weight_value": 0.5, "clamp_bias_value": 0.25, "clamp_activation_value": 1}
    cmodel = linger_jax.constrain(layer, {"clamp_info": clamps})
    y, _ = cmodel.apply(cmodel.init(KEY, x), x, mutable=["batch_stats"])
    assert jnp.abs(y).max() <= 1.0


# --- layers (docs/specification/layers.md sections 4, 8, 9) -----------------------------------------------------------


def test_max_pooling_of_a_float_input_is_float():
    def model(x):
        return nn.Dense(2)(nn.max_pool(x, (2, 2), (2, 2)))

    x = normal(1, 4, 4, 3)
    qmodel = linger_jax.init(Calls(model))
    rows = qmodel.plan(initialised(qmodel, x), x).rows()
    assert [row.op for row in rows] == ["Dense"]


def exact_pool(x, kernel, stride, padding, *, count_include_pad):
    """Exact window averages along axis 1."""
    n, width, channels = x.shape
    starts = range(-padding, width + padding - kernel + 1, stride)
    out = np.zeros((n, len(starts), channels))
    for i, start in enumerate(starts):
        cells = range(max(start, 0), min(start + kernel, width))
        count = kernel if count_include_pad else len(cells)
        out[:, i] = x[:, cells].sum(1) / count
    return out


@pytest.mark.usefixtures("flax_promotion")
@pytest.mark.parametrize(("kernel", "padding", "include"), [(7, 0, True), (11, 0, True), (3, 1, False), (5, 2, False)])
def test_one_dimensional_average_pooling_follows_the_two_dimensional_rules(kernel, padding, include):
    steps = np.random.default_rng(kernel).integers(-128, 128, (4, 48, 8))
    x = linger_jax.QTensor(jnp.asarray(steps / 32, jnp.float32), jnp.float32(32), 8)

    def model(x):
        pads = ((padding, padding),)
        return nn.avg_pool(x, (kernel,), (1,), pads, count_include_pad=include)

    qmodel = linger_jax.init(Calls(model))
    y = qmodel.apply_qtensor(qmodel.init(KEY, x), x)
    got = np.asarray(y.value * y.scale, np.int64)
    exact = exact_pool(steps, kernel, 1, padding, count_include_pad=include)
    assert y.scale == 32
    # The platform's reciprocal decides ties; everything else is the nearest integer.
    assert np.abs(got - exact).max() <= 0.5


def test_average_pooling_answers_at_the_scale_of_its_input():
    x = normal(2, 6, 6, 3)

    def model(x):
        return nn.Conv(4, (3, 3), name="last")(nn.relu(nn.Conv(4, (3, 3))(x))).mean((1, 2))

    qmodel = linger_jax.init(Calls(model))
    variables = initialised(qmodel, x)
    _, updates = qmodel.apply(variables, x, mutable=["quant"])
    scale = updates["quant"]["last"]["output_quantizer"]["scale"]
    assert updates["quant"]["_linger_avg_pool_0"]["output_quantizer"]["scale"] == scale


# --- operators (docs/specification/ops.md section 8) ------------------------------------------------------------------


def test_the_matmul_operator_and_concatenations_of_three_are_quantized():
    def model(x):
        a, b, c = (nn.Dense(4, name=name)(x) for name in "abc")
        return jnp.concatenate([a @ b.T, a, b, c], axis=-1)

    x = normal(4, 5)
    qmodel = linger_jax.init(Calls(model))
    quant = qmodel.init(KEY, x)["quant"]
    assert set(quant["_linger_qtensor_qmatmul_0"]["input_quantizer"]) == {"0", "1"}
    assert set(quant["_linger_qtensor_qcat_1"]["input_quantizer"]) == {"0", "1", "2", "3"}


def test_every_threshold_exists_before_the_first_step():
    def model(x):
        return nn.Dense(4)(x) * 3.0

    x = normal(4, 5)
    qmodel = linger_jax.init(Calls(model), {"quant_info": {"qat_method": "TQT"}})
    variables = initialised(qmodel, x)
    _, updates = qmodel.apply(variables, x, mutable=["quant", "params"])
    assert jax.tree.structure(updates["params"]) == jax.tree.structure(variables["params"])
    assert variables["params"]["_linger_qtensor_qmul_0"]["output_quantizer"]["learning_data"].shape == (1,)


def test_an_exception_inside_a_forward_leaves_no_owner_behind():
    class Fails(nn.Module):
        fail: bool

        @nn.compact
        def __call__(self, x):
            x = nn.Dense(4)(x)
            if self.fail:
                raise RuntimeError("on purpose")
            return x + x

    x = normal(2, 4)
    with pytest.raises(RuntimeError, match="on purpose"):
        linger_jax.init(Fails(True)).adopt(Fails(False).init(KEY, x), x)
    assert "_linger_qtensor_qadd_0" in linger_jax.init(Fails(False)).init(KEY, x)["quant"]


def test_a_power_of_two_constant_is_clipped_by_its_own_quantizer():
    def model(x):
        return nn.Dense(4)(x) * 0.5

    x = normal(8, 5)
    qmodel = linger_jax.init(Calls(model))
    with pytest.warns(LingerWarning, match=r"_linger_qtensor_qmul_0.*constant 0.5 counts as 0.49609375"):
        variables = initialised(qmodel, x)
    _, updates = qmodel.apply(variables, x, mutable=["quant"])
    constant = updates["quant"]["_linger_qtensor_qmul_0"]["input_quantizer"]["1"]
    assert constant["running_data"] == 0.5
    assert constant["scale"] == 256, "0.5 is 128 steps, one above the largest"
