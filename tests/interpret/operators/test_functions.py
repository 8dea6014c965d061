"""Quantized functions by the chip's kernels.

Source: docs/specification/ops.md sections 4 to 6, docs/specification/chip_kernels.md section 9.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linger_jax
from linger_jax import LingerWarning, QTensor
from linger_jax.config import Platform
from linger_jax.errors import PlatformLimitError
from linger_jax.numerics import chip_kernels
from linger_jax.plan import PlanError
from tests.interpret.steps import TQT, quantized, same_bits, scale_for
from tests.models import AfterDense, OnArguments, initialised, on_grid, prepared, random_array

A = on_grid(0, 32.0, 5, 6)
KERNELS = {
    "sigmoid": (jax.nn.sigmoid, chip_kernels.sigmoid),
    "tanh": (jnp.tanh, chip_kernels.tanh),
    "gelu": (jax.nn.gelu, chip_kernels.gelu),
    "gelu, erf": (lambda x: jax.nn.gelu(x, approximate=False), chip_kernels.gelu),
    "silu": (jax.nn.silu, chip_kernels.swish),
}


def trained(function, x, config=None, evaluate=False):
    """Output of one training call (or of an evaluation call behind it), and the state of its one operator."""
    qmodel, variables = prepared(OnArguments(function), x, config=config)
    output, updates = qmodel.apply_qtensor(variables, x, mutable=["quant"])
    if evaluate:
        output = qmodel.apply_qtensor({**variables, **updates}, x)
    ((name, state),) = ((n, entry) for n, entry in updates["quant"].items() if n.startswith("_linger"))
    return output, name, state


def on(platform, **more):
    return {"platform": platform, **more}


@pytest.mark.parametrize("evaluate", [False, True])
@pytest.mark.parametrize("platform", ["arcs", "mars", "venusA"])
@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_fixed_scale_function_is_the_kernel_requantized_to_its_bits(name, platform, evaluate):
    function, kernel = KERNELS[name]
    output, state_path, state = trained(function, A, on(platform), evaluate)
    fixed = jnp.asarray(A.value * 2.0**27, jnp.int32)
    assert (float(output.scale), output.bits, state_path) == (128.0, 8, f"_linger_qtensor_q{name}_0")
    np.testing.assert_array_equal(output.value * 128, kernel(fixed, Platform(platform), 7))
    assert not bool(state["output_quantizer"]["is_init"]), "the statistic does not move"


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_function_on_venus_has_a_scale_of_its_own_statistic(name):
    function, kernel = KERNELS[name]
    output, _, state = trained(function, A, on("venus"))
    exact = np.asarray(kernel(jnp.asarray(A.value * 2.0**11, jnp.int32), Platform.venus, 15)) / 2.0**15
    largest = float(state["output_quantizer"]["running_data"])
    assert largest == np.float32(np.abs(exact).max())
    np.testing.assert_array_equal(output.value, quantized(exact, scale_for(largest)))


@pytest.mark.parametrize("name", ["gelu", "gelu, erf", "silu"])
def test_gated_function_on_venus_a(name):
    """Both forms of gelu are the chip's one kernel (docs/decisions.md D21)."""
    function, kernel = KERNELS[name]
    output, state_path, _ = trained(function, A)
    exact = np.float32(kernel(jnp.asarray(A.value * 2.0**27, jnp.int32), Platform.venusA)) / np.float32(2.0**27)
    assert state_path == {"silu": "_linger_qtensor_qswish_0"}.get(name, "_linger_qtensor_qgelu_0")
    np.testing.assert_array_equal(output.value, quantized(exact, float(output.scale)))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax_runs_over_its_axis(axis):
    output, _, _ = trained(lambda x: jax.nn.softmax(x, axis=axis), A)
    fixed = np.moveaxis(np.int32(np.asarray(A.value) * 2.0**25), axis, -1)
    kernel = jax.jit(lambda x: chip_kernels.softmax(x, Platform.venusA))
    exact = np.moveaxis(np.asarray(kernel(fixed)), -1, axis) / 2.0**15
    np.testing.assert_array_equal(output.value, quantized(exact, float(output.scale)))


@pytest.mark.parametrize("name", [*KERNELS, "softmax"])
def test_gradient_is_that_of_the_float_function(name):
    function = KERNELS[name][0] if name in KERNELS else jax.nn.softmax
    weights = jax.random.normal(jax.random.key(1), A.shape)
    qmodel, variables = prepared(OnArguments(function), A)

    def loss(x):
        output, _ = qmodel.apply_qtensor(variables, QTensor(x, A.scale, 8), mutable=["quant"])
        steps = output.value * output.scale
        inside = jnp.where((steps < 127) & (steps > -128), weights, 0.0)
        return jnp.sum(output.value * jax.lax.stop_gradient(inside)), inside

    ours, inside = jax.jit(jax.grad(loss, has_aux=True))(A.value)
    assert np.count_nonzero(inside) > 10
    wanted = jax.jit(lambda x, g: jax.vjp(function, x)[1](g)[0])(A.value, inside)
    np.testing.assert_allclose(ours, wanted, rtol=0, atol=2e-6)


@pytest.mark.parametrize("config", [{}, TQT])
def test_calibration_records_the_float_function(config):
    info = {**config.get("quant_info", {}), "a_calibrate_name": "top_10", "calibrate_exponent": "nearest"}
    qmodel, variables = prepared(OnArguments(jax.nn.softmax), A, config={"quant_info": info})
    variables = linger_jax.calibrate(qmodel, variables, [A], progress=False)
    state = variables["quant"]["_linger_qtensor_qsoftmax_0"]["output_quantizer"]
    tenth = np.sort(np.ravel(jax.nn.softmax(A.value)))[-10]
    assert float(state["scale"]) == scale_for(tenth)


def test_fixed_scale_holds_before_any_training():
    """Evaluation of a fresh model uses the fixed scale, and there is nothing to warn about (docs/codes.md O6)."""
    qmodel, variables = prepared(OnArguments(jax.nn.sigmoid), A)
    state = variables["quant"]["_linger_qtensor_qsigmoid_0"]["output_quantizer"]
    assert float(state["scale"]) == 128.0
    with pytest.warns(LingerWarning, match="never saw data") as caught:
        output = qmodel.apply_qtensor(variables, A)
    assert "sigmoid" not in str(caught[0].message)
    assert float(output.scale) == 128.0
    np.testing.assert_allclose(output.value, jax.nn.sigmoid(A.value), atol=2 / 128)


def test_fixed_scale_survives_calibration():
    qmodel, variables = prepared(OnArguments(jnp.tanh), A, config=TQT)
    variables = linger_jax.calibrate(qmodel, variables, [A], progress=False)
    assert float(variables["quant"]["_linger_qtensor_qtanh_0"]["output_quantizer"]["scale"]) == 128.0


def test_reference_evaluates_a_fresh_function_at_scale_one():
    qmodel, variables = prepared(OnArguments(jax.nn.sigmoid), A, config={"compat": "reference"})
    output = qmodel.apply_qtensor(variables, A)
    assert float(output.scale) == 1.0
    assert set(np.unique(output.value)) <= {0.0, 1.0}


@pytest.mark.parametrize("bits", [24, 25, 28, 32])
def test_wide_results_are_the_kernel_s_integers(bits):
    config = {"quant_info": {"activate_bits": bits}}
    output, _, _ = trained(jax.nn.sigmoid, A, config, evaluate=True)
    fixed = jnp.asarray(A.value * 2.0**27, jnp.int32)
    steps = np.asarray(chip_kernels.sigmoid(fixed, Platform.venusA, bits - 1), np.float64)
    # A result of 24 bits is quantized at a scale that ends at 2^23.
    assert (float(output.scale), output.bits) == (2.0 ** (bits - 1), bits)
    np.testing.assert_array_equal(output.value, np.float32(steps / 2.0 ** (bits - 1)))


LARGE = QTensor(jnp.float32([[-40.0, -17.0, -16.0, 15.5, 16.0, 17.0, 31.5]]), jnp.float32(2.0), 8)


def test_venus_saturates_what_enters_its_kernels():
    """Beyond 16 bits of Q11 the tables end; saturated inputs give the functions' limits, the reference 0.

    Source: docs/decisions.md D9, docs/codes.md K1.
    """
    chip, _, _ = trained(jax.nn.sigmoid, LARGE, on("venus"))
    np.testing.assert_allclose(chip.value, jax.nn.sigmoid(LARGE.value), atol=1 / float(chip.scale))
    reference, _, _ = trained(jax.nn.sigmoid, LARGE, on("venus", compat="reference"))
    np.testing.assert_array_equal(reference.value[0, [0, 1, 5, 6]], 0.0)


@pytest.mark.parametrize("name", ["gelu", "silu"])
def test_large_inputs_of_gelu_and_silu_saturate(name):
    """16 and more do not fit Q27; saturated they give about 16, in the reference they wrap to about 0.

    Source: docs/decisions.md D9, docs/codes.md K2.
    """
    function = KERNELS["gelu, erf" if name == "gelu" else name][0]
    chip, _, _ = trained(function, LARGE)
    np.testing.assert_allclose(chip.value[0], [0, 0, 0, 15.5, 16, 16, 16], atol=0.2)
    reference, _, _ = trained(function, LARGE, {"compat": "reference"})
    np.testing.assert_allclose(reference.value[0], [0, 0, 0, 15.5, 0, 0, 0], atol=0.2)


@pytest.mark.parametrize("platform", ["arcs", "mars", "venus"])
@pytest.mark.parametrize("name", ["gelu", "silu"])
def test_function_without_a_kernel_is_float_and_warned_about_where_its_operand_is_too_wide_for_a_table(name, platform):
    function, called = KERNELS[name][0], {"silu": "swish"}.get(name, name)
    wide = QTensor(A.value, A.scale, 16)
    qmodel = linger_jax.init(OnArguments(function), on(platform))
    with pytest.warns(LingerWarning, match=rf"<root> at models.py:\d+: {platform} has no {called} kernel"):
        variables = initialised(qmodel, wide)
    (row,) = (row for row in qmodel.plan(variables, wide).rows() if row.op == name)
    assert (row.status, row.reason) == ("float", f"{platform} has no {called} kernel")
    output = qmodel.apply_qtensor(variables, wide, mutable=["quant"])[0]
    np.testing.assert_allclose(output, jax.jit(function)(A.value), rtol=1e-6)
    with pytest.raises(PlanError, match=f"{platform} has no {called} kernel"):
        linger_jax.init(OnArguments(function), on(platform), strict=True).init(jax.random.key(0), wide)


@pytest.mark.parametrize("platform", ["arcs", "mars", "venus", "jupiter"])
@pytest.mark.parametrize("name", ["gelu", "silu"])
def test_function_without_a_kernel_is_a_table_of_8_bits(name, platform):
    """The exact function, rounded once (docs/decisions.md D8)."""
    output, state_path, _ = trained(KERNELS[name][0], A, on(platform))
    assert state_path == "_linger_qtensor_qtable_0"
    x = np.asarray(A.value, np.float64)
    inner = np.float64(np.float32(np.sqrt(2 / np.pi))) * (x + np.float64(np.float32(0.044715)) * x**3)
    exact = x / (1 + np.exp(-x)) if name == "silu" else x * 0.5 * (1 + np.tanh(inner))
    steps = np.floor(exact * float(output.scale) + 0.5)
    np.testing.assert_array_equal(output.value, np.clip(steps, -128, 127) / float(output.scale))


def test_function_without_a_kernel_is_refused_when_it_is_reached_by_the_reference():
    config = on("arcs", compat="reference", **TQT)
    qmodel, variables = prepared(OnArguments(jax.nn.silu), A, config=config)
    with pytest.raises(PlatformLimitError, match="_linger_qtensor_qswish_0: arcs has no swish kernel"):
        qmodel.apply(variables, A, mutable=["quant"])
    with linger_jax.calibration():
        qmodel.apply(variables, A, mutable=["quant"])


@pytest.mark.parametrize("function", [jax.nn.sigmoid, jnp.tanh, jax.nn.softmax])
def test_jupiter_has_no_kernels_at_all(function):
    wide = QTensor(A.value, A.scale, 16)
    qmodel = linger_jax.init(OnArguments(function), on("jupiter"))
    with pytest.warns(LingerWarning, match="jupiter has no .* kernel"):
        qmodel.init(jax.random.key(0), wide)


def test_tanh_form_of_gelu_is_float_under_the_reference():
    qmodel, variables = prepared(OnArguments(jax.nn.gelu), A, config={"compat": "reference"})
    (row,) = (row for row in qmodel.plan(variables, A).rows() if row.op == "gelu")
    assert (row.status, row.reason) == ("float", "gelu in its tanh form is float in linger (compat: reference)")


def test_tanh_form_of_gelu_is_noted_in_the_plan():
    qmodel, variables = prepared(OnArguments(jax.nn.gelu), A)
    (row,) = (row for row in qmodel.plan(variables, A).rows() if row.op == "gelu")
    assert (row.status, row.reason[:32]) == ("quantized", "the tanh form, by the chip's one")
    real = jax.nn.gelu(A.value, approximate=False)
    np.testing.assert_allclose(jax.nn.gelu(A.value), real, atol=5e-4)


def test_function_of_a_float_is_float():
    _, variables = prepared(OnArguments(jax.nn.sigmoid), A.value)
    assert not any(name.startswith("_linger") for name in variables["quant"])


def test_results_do_not_depend_on_jit():
    x = on_grid(3, 16.0, 4, 5)
    qmodel, variables = prepared(OnArguments(lambda x: jax.nn.softmax(jnp.tanh(x) * jax.nn.gelu(x))), x)
    eager, state = qmodel.apply_qtensor(variables, x, mutable=["quant"])
    with jax.disable_jit():
        plain, plain_state = qmodel.apply_qtensor(variables, x, mutable=["quant"])
    np.testing.assert_array_equal(eager.value, plain.value)
    jax.tree.map(np.testing.assert_array_equal, state, plain_state)


@pytest.mark.parametrize("name", ["sigmoid", "gelu", "softmax"])
def test_results_do_not_depend_on_x64(name):
    function = KERNELS[name][0] if name in KERNELS else jax.nn.softmax
    x = random_array(0, 3, 4)
    qmodel, variables = prepared(AfterDense(function), x)
    narrow = qmodel.apply_qtensor(variables, x, mutable=["quant"])
    with jax.enable_x64(True):
        wide = qmodel.apply_qtensor(variables, x, mutable=["quant"])
    same_bits(narrow, wide)


class Step(nn.Module):
    @nn.compact
    def __call__(self, carry, x):
        return jnp.tanh(nn.Dense(4, name="dense")(carry) + x), None


class Steps(nn.Module):
    remat: bool

    @nn.compact
    def __call__(self, x):
        step = nn.remat(Step) if self.remat else Step
        scan = nn.scan(step, variable_broadcast="params", split_rngs={"params": False})
        return scan(name="step")(x[0], x)[0]


def test_functions_run_inside_scan_and_remat_with_the_same_results_and_gradients():
    x = jax.random.normal(jax.random.key(0), (3, 2, 4))
    results = []
    for remat in (False, True):
        qmodel, variables = prepared(Steps(remat), x)
        state = {"quant": variables["quant"]}

        def loss(params, qmodel=qmodel, state=state):
            output, updates = qmodel.apply({"params": params, **state}, x, mutable=["quant"])
            return jnp.sum(output**2), (output, jax.tree.leaves(updates))

        gradients, rest = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
        results.append((jax.tree.leaves(gradients), *rest))
    same_bits(*results)
    assert "_linger_qtensor_qtanh_1" in state["quant"]["step"]


@pytest.mark.parametrize(("platform", "widened"), [("venusA", 2.0**15), ("venus", None)])
def test_functions_follow_a_change_of_width(platform, widened):
    """A fixed scale follows the width, any other one the statistic."""
    x = random_array(0, 3, 4)
    qmodel, variables = prepared(AfterDense(lambda x: jax.nn.softmax(jnp.tanh(x))), x, config=on(platform))
    _, updates = qmodel.apply(variables, x, mutable=["quant"])
    wide = qmodel.replace_config({"quant_info": {"activate_bits": 16}, **on(platform)})
    quant = wide.take_over(qmodel, {**variables, **updates}, x)["quant"]
    for state_path, fixed in (("_linger_qtensor_qtanh_0", widened), ("_linger_qtensor_qsoftmax_1", None)):
        state = quant[state_path]["output_quantizer"]
        assert float(state["scale"]) == (fixed or scale_for(float(state["running_data"]), 16))
