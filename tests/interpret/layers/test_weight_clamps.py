"""Parameters are never written behind the user's back (docs/decisions.md D24)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linger_jax
from tests.interpret.steps import TQT, same_bits, trained
from tests.models import Mlp, Shared, prepared, random_array

X = random_array(1, 4, 5)
LINGERS: dict = {"clamp_info": {}}
"""The section with linger's limits."""

pytestmark = pytest.mark.filterwarnings("ignore:clamps cut values:linger_jax.LingerWarning")


def large_weights(flag):
    """An Mlp with one weight far outside the clamp; ``flag`` says whether its quantizer thinks it was clamped."""
    qmodel, variables = prepared(Mlp(), X, config=LINGERS)
    kernel = variables["params"]["first"]["kernel"]
    variables["params"]["first"]["kernel"] = jnp.zeros_like(kernel).at[0, 0].set(10.0)
    variables["quant"]["first"]["weight_quantizer"]["is_init_mom_clamp_weight"] = jnp.asarray(flag)
    return qmodel, variables


CLAMPED = 10.0 * 7 / 40  # factor * mean|w| of 5 x 8 weights


def test_init_and_adopt_return_clamped_weights_with_the_flag_set():
    qmodel, variables = large_weights(True)
    adopted = qmodel.adopt({"params": variables["params"]}, X)
    assert float(adopted["params"]["first"]["kernel"][0, 0]) == CLAMPED
    assert bool(adopted["quant"]["first"]["weight_quantizer"]["is_init_mom_clamp_weight"])
    assert float(variables["params"]["first"]["kernel"][0, 0]) == 10.0


def test_adopt_leaves_weights_alone_under_tqt():
    _, variables = large_weights(True)
    tqt = linger_jax.init(Mlp(), {**TQT, **LINGERS})
    adopted = tqt.adopt({"params": variables["params"]}, X)
    assert float(adopted["params"]["first"]["kernel"][0, 0]) == 10.0
    assert not bool(adopted["quant"]["first"]["weight_quantizer"]["is_init_mom_clamp_weight"])


def test_first_training_step_clamps_in_its_forward_pass_and_reports_the_parameter_when_asked():
    qmodel, variables = large_weights(False)
    output, updates = qmodel.apply(variables, X, mutable=["quant", "params"])
    assert float(updates["params"]["first"]["kernel"][0, 0]) == CLAMPED
    clamped = {**large_weights(True)[1], "params": updates["params"]}
    same_bits(qmodel.apply(clamped, X, mutable=["quant"])[0], output)
    without, only_state = qmodel.apply(variables, X, mutable=["quant"])
    same_bits(without, output)
    assert set(only_state) == {"quant"}
    assert bool(only_state["quant"]["first"]["weight_quantizer"]["is_init_mom_clamp_weight"])


def test_later_training_steps_do_not_clamp():
    qmodel, variables = large_weights(True)
    _, updates = qmodel.apply(variables, X, mutable=["quant", "params"])
    assert float(updates["params"]["first"]["kernel"][0, 0]) == 10.0


def test_gradient_of_the_clamping_step_is_taken_at_the_clamped_weight():
    qmodel, variables = large_weights(False)
    _, updates = qmodel.apply(variables, X, mutable=["quant", "params"])
    clamped = {**large_weights(True)[1], "params": updates["params"]}

    def slope(variables):
        def loss(params):
            return jnp.sum(qmodel.apply({**variables, "params": params}, X, mutable=["quant"])[0])

        return jax.grad(loss)(variables["params"])

    same_bits(slope(variables), slope(clamped))


def test_shared_layer_is_clamped_once_for_all_its_calls():
    x = random_array(2, 8, 4)
    qmodel, variables = prepared(Shared(), x, config=LINGERS)
    kernel = jnp.zeros((4, 4)).at[0, 0].set(8.0)
    variables["params"]["dense"]["kernel"] = kernel
    variables["quant"]["dense"]["weight_quantizer"]["is_init_mom_clamp_weight"] = jnp.asarray(False)
    output, updates = qmodel.apply(variables, x, mutable=["quant", "params"])
    assert float(updates["params"]["dense"]["kernel"][0, 0]) == 8.0 * 7 / 16
    variables["quant"]["dense"]["weight_quantizer"]["is_init_mom_clamp_weight"] = jnp.asarray(True)
    wanted, _ = qmodel.apply({**variables, "params": updates["params"]}, x, mutable=["quant"])
    same_bits(output, wanted)


@pytest.mark.parametrize("config", [LINGERS, {**TQT, **LINGERS}], ids=["MOM", "TQT"])
def test_calibration_returns_clamped_weights_and_clamps_once_over_all_batches(config):
    kernel = jnp.zeros((5, 8)).at[0, 0].set(10.0)
    qmodel, variables = prepared(Mlp(), X, config=config)
    variables["params"]["first"]["kernel"] = kernel
    variables["quant"]["first"]["weight_quantizer"]["is_init_mom_clamp_weight"] = jnp.asarray(False)
    calibrated = linger_jax.calibrate(qmodel, variables, [X, X, X], progress=False)
    assert float(calibrated["params"]["first"]["kernel"][0, 0]) == CLAMPED
    np.testing.assert_array_equal(variables["params"]["first"]["kernel"], kernel)


def test_batch_norm_s_alpha_is_clamped_in_the_first_step_only():
    model = nn.BatchNorm(use_running_average=False)
    qmodel, variables = prepared(model, X)
    variables["params"]["scale"] = jnp.asarray([1.0, 0.0, 0.0, 0.0, 0.0])
    qmodel = linger_jax.init(model, {"clamp_info": {"clamp_factor_value": 2}})
    _, first = trained(qmodel, variables, X)
    _, second = trained(qmodel, first, X)
    scale = 2.0 ** np.rint(7 - np.log2(np.abs(X).max()))
    alpha = 1 / np.std(np.floor(np.asarray(X)[:, 0] * scale + 0.5) / scale)
    (one, two) = (float(v["quant"]["weight_quantizer"]["running_data"]) for v in (first, second))
    assert one == pytest.approx(0.4 * alpha, rel=1e-4)
    assert two == pytest.approx(0.9 * one + 0.1 * alpha, rel=1e-4)
    same_bits(second["params"], variables["params"])
