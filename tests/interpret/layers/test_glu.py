"""GLU by the chip's sigmoid (docs/specification/layers.md section 10) under ``chip``."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linger_jax
from linger_jax import LingerWarning
from linger_jax.config import Platform
from linger_jax.errors import PlatformLimitError
from linger_jax.numerics import chip_kernels
from tests.interpret.steps import REFERENCE, TQT, quantized, trained
from tests.models import prepared, random_array

X = jnp.clip(2 * random_array(0, 5, 8), -7.0, 7.0)


class Gated(nn.Module):
    """GLU on its own; it is a layer, so a float input gets a quantizer."""

    axis: int = -1

    def __call__(self, x):
        return nn.glu(x, axis=self.axis)


class Block(nn.Module):
    """Two gates of one owner behind a Dense."""

    @nn.compact
    def __call__(self, x):
        return nn.glu(nn.glu(nn.Dense(16, name="layer")(x)))


@pytest.mark.parametrize("platform", ["venus", "arcs", "mars", "venusA"])
@pytest.mark.parametrize("axis", [-1, 0])
def test_the_layer_by_hand_on_every_platform(platform, axis):
    x = X[:4] if axis == 0 else X
    qmodel, variables = prepared(Gated(axis), x, config={"platform": platform})
    y, updates = qmodel.apply_qtensor(variables, x, mutable=["quant"])
    state = updates["quant"]["_linger_glu_0"]
    scale = float(state["input_quantizer"]["scale"])
    a, b = np.split(quantized(x, scale), 2, axis)
    q_in, q_out = (11, 15) if platform == "venus" else (27, 31)
    integers = np.clip(b.astype(np.float64) * 2.0**q_in, -(2**31), 2**31 - 1).astype(np.int32)
    gate = np.asarray(chip_kernels.sigmoid(jnp.asarray(integers), Platform(platform), q_out)).astype(np.float32)
    gate = np.rint(gate / 2.0**q_out * 2.0**15) / 2.0**15
    assert float(state["sigmoid_quantizer"]["scale"]) == 2.0**15
    np.testing.assert_array_equal(y.value, quantized(np.clip(a * gate, -8, 8), float(y.scale)))
    assert y.bits == 8


def test_gates_are_numbered_by_owner_and_take_a_quantized_operand_s_scale():
    qmodel, variables = prepared(Block(), X)
    assert [(r.name, r.status) for r in qmodel.plan(variables, X).rows()] == [
        ("layer", "quantized"),
        ("_linger_glu_0", "quantized"),
        ("_linger_glu_1", "quantized"),
    ]
    _, after = trained(qmodel, variables, X)
    gates = [after["quant"][f"_linger_glu_{i}"] for i in range(2)]
    assert [bool(gate["input_quantizer"]["is_init"]) for gate in gates] == [False, False]
    assert float(gates[1]["input_quantizer"]["scale"]) == float(gates[0]["output_quantizer"]["scale"])


def test_the_gradient_is_the_float_one_at_the_quantized_input():
    x = X * (3.8 / jnp.abs(X).max())  # a range that cuts neither the input nor the output
    qmodel, variables = prepared(Gated(), x)
    slope = jax.jit(jax.grad(lambda x: jnp.sum(qmodel.apply(variables, x, mutable=["quant"])[0])))(x)
    grid = jnp.asarray(quantized(x, 32.0))
    np.testing.assert_allclose(slope, jax.grad(lambda x: jnp.sum(nn.glu(x)))(grid), atol=2e-3)


@pytest.mark.parametrize("config", [None, TQT], ids=["MOM", "TQT"])
def test_the_sigmoid_s_scale_is_right_before_any_training_step(config):
    """In the reference it is 1 until then, and evaluation rounds the sigmoid to 0 or 1."""
    qmodel, variables = prepared(Gated(), X, config=config)
    assert float(variables["quant"]["_linger_glu_0"]["sigmoid_quantizer"]["scale"]) == 2.0**15
    calibrated = linger_jax.calibrate(qmodel, variables, [X], progress=False)
    assert float(calibrated["quant"]["_linger_glu_0"]["sigmoid_quantizer"]["scale"]) == 2.0**15
    _, after = trained(qmodel, variables, X)
    wanted = qmodel.apply(after, X)
    after["quant"]["_linger_glu_0"]["sigmoid_quantizer"]["scale"] = jnp.float32(1)  # as a file of linger may hold it
    np.testing.assert_array_equal(qmodel.apply(after, X), wanted)


def test_under_the_reference_the_stored_scale_counts():
    qmodel, variables = prepared(Gated(), X, config={**REFERENCE, **TQT})
    _, variables = trained(qmodel, variables, X)
    variables["quant"]["_linger_glu_0"]["sigmoid_quantizer"]["scale"] = jnp.float32(1)
    y = np.asarray(qmodel.apply(variables, X))
    a, b = np.split(quantized(X, float(variables["quant"]["_linger_glu_0"]["input_quantizer"]["scale"])), 2, -1)
    np.testing.assert_array_equal(y[b > 0.1], a[b > 0.1])
    np.testing.assert_array_equal(y[b < -0.1], 0)


def test_calibration_computes_the_float_function():
    qmodel, variables = prepared(Gated(), X)
    with linger_jax.calibration():
        y, _ = qmodel.apply(variables, X, mutable=["quant"])
    np.testing.assert_allclose(y, nn.glu(X), rtol=1e-6)


def test_a_platform_without_kernels_is_float_with_a_warning():
    with pytest.warns(LingerWarning, match="jupiter has no sigmoid kernel; glu runs as float"):
        qmodel, variables = prepared(Block(), X, config={"platform": "jupiter"})
    assert [r.status for r in qmodel.plan(variables, X).rows()] == ["quantized", "float", "float"]


def test_a_platform_without_kernels_is_an_error_under_the_reference():
    qmodel, variables = prepared(Block(), X, config={"platform": "jupiter", **REFERENCE})
    with pytest.raises(PlatformLimitError, match=r"_linger_glu_0: jupiter has no sigmoid kernel"):
        qmodel.apply(variables, X, mutable=["quant"])


def test_inside_a_disabled_module_it_is_float():
    qmodel = linger_jax.init(nn.Sequential([nn.Dense(8), Block()]), disable_submodel=("layers_1*",))
    plan = qmodel.plan(nn.Sequential([nn.Dense(8), Block()]).init(jax.random.key(0), X), X)
    assert [r.status for r in plan.rows()][1:] == ["disabled"] * len(plan.rows()[1:])


def test_the_gate_is_as_wide_as_in_files_whatever_the_width_of_biases():
    results = []
    for bits in (8, 32):
        qmodel, variables = prepared(Gated(), X, config={"platform": "venus", "quant_info": {"bias_bits": bits}})
        results.append(qmodel.apply(variables, X, mutable=["quant"])[0])
    np.testing.assert_array_equal(*results)
    assert np.abs(results[0]).max() > 0.1
