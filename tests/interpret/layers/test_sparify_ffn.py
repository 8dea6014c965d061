"""The quantized SparifyFFN (docs/specification/layers.md section 11) under ``chip``."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

import linger_jax
from linger_jax.nn import SparifyFFN
from tests.interpret.steps import gradients, quantized, same_bits, trained
from tests.models import initialised, prepared, random_array

X = random_array(0, 5, 6)


def steps(w, scale, bits=8):
    return np.clip(np.rint(np.asarray(w) * scale), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1) / scale


@pytest.mark.parametrize("use_bias", [True, False])
def test_the_block_by_hand_with_and_without_bias(use_bias):
    """The reference cannot convert a block without bias."""
    qmodel, variables = prepared(SparifyFFN(6, 16, use_bias=use_bias), X)
    y, updates = qmodel.apply_qtensor(variables, X, mutable=["quant"])
    scale = {name: float(entry["scale"]) for name, entry in updates["quant"].items()}
    assert ("bias_fc1_quantizer" in scale) == use_bias
    w = {n: steps(variables["params"][f"weight_{n}"], scale[f"weight_{n}_quantizer"]) for n in ("fc1", "fc2", "mask")}
    x = quantized(X, scale["input_quantizer"])
    b = {"fc1": 0, "fc2": 0, "mask": 0}
    if use_bias:
        below = {"fc1": "input_quantizer", "mask": "input_quantizer", "fc2": "outfc1_quantizer"}
        for n, source in below.items():
            assert scale[f"bias_{n}_quantizer"] == scale[f"weight_{n}_quantizer"] * scale[source]
            b[n] = steps(variables["params"][f"bias_{n}"], scale[f"bias_{n}_quantizer"], bits=32)
    hidden = quantized(x @ w["fc1"] + b["fc1"], scale["outfc1_quantizer"])
    groups = quantized(x @ w["mask"] + b["mask"], scale["outmask_quantizer"])
    flags = np.repeat(np.eye(8)[groups.argmax(-1)], 2, axis=-1)
    exact = np.maximum(hidden * flags, 0) @ w["fc2"] + b["fc2"]
    np.testing.assert_array_equal(y.value, quantized(exact, scale["output_quantizer"]))
    assert float(y.scale) == scale["output_quantizer"]


def test_of_equal_groups_the_first_is_kept():
    """Undefined in the reference."""
    qmodel, variables = prepared(SparifyFFN(6, 16, use_bias=False), X)
    variables["params"]["weight_mask"] = jnp.zeros((6, 8))
    variables["params"]["weight_fc1"] = jnp.zeros((6, 16)).at[:, 2:].set(9.0)
    y, _ = trained(qmodel, variables, jnp.abs(X))
    np.testing.assert_array_equal(y, np.zeros_like(X))


def test_training_keeps_one_group_from_the_start_and_leaves_the_float_schedule_s_counter():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, *, train):
            return SparifyFFN(6, 16)(x, train=train)

    qmodel, variables = prepared(Net(), X, train=True)
    y, after = trained(qmodel, variables, X, train=True)
    same_bits(y, trained(qmodel, variables, X, train=False)[0])
    assert int(after["sparify"]["SparifyFFN_0"]["calls"]) == 0


def test_weights_are_clamped_to_factors_of_their_own():
    qmodel, variables = prepared(SparifyFFN(6, 16), X, config={"clamp_info": {"clamp_factor_value": 1}})
    weights = {n: jnp.zeros(w.shape).at[0, 0].set(1.0) for n, w in variables["params"].items() if "weight" in n}
    adopted = qmodel.adopt({"params": {**variables["params"], **weights}}, X)
    (row,) = qmodel.plan(adopted, X, verdict=False).rows()
    assert "clamped: weights 1.04% (largest 1, a limit of the layer's own)" in row.reason
    adopted = adopted["params"]
    got = {n: float(adopted[n][0, 0]) for n in weights}
    assert got == {"weight_fc1": 3 / 96, "weight_fc2": 3 / 96, "weight_mask": pytest.approx(7 / 48)}


def test_gradients_reach_every_weight_through_the_selection():
    qmodel, variables = prepared(SparifyFFN(6, 16), X)
    variables["params"]["bias_fc1"] = jnp.full(16, 0.5)
    slopes = gradients(qmodel, variables, X)
    assert {name for name, slope in slopes.items() if np.abs(slope).max() == 0} == set()


def test_constraining_leaves_the_block_as_it_is():
    model = nn.Sequential([nn.Dense(6), SparifyFFN(6, 16)])
    cmodel = linger_jax.constrain(model, {"clamp_info": {"clamp_factor_value": 1000, "clamp_activation_value": 1000}})
    variables = initialised(cmodel, X)
    variables["params"]["layers_1"]["weight_fc1"] = jnp.full((6, 16), 5000.0)
    same_bits(cmodel.apply(variables, X), model.apply(variables, X))
