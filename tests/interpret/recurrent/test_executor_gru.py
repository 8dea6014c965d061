"""A GRU in the executor's arithmetic (docs/specification/executor.md section 5, docs/decisions.md D34)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linger_jax
from linger_jax.config import Platform
from linger_jax.nn import TorchGRUCell
from tests.models import on_grid, prepared, random_array
from tests.numerics.recurrent import integer_cells
from tests.plan.planned import planned, row_of

UNITS = 5
MODEL = nn.RNN(TorchGRUCell(UNITS))
BOTH = pytest.mark.parametrize("platform", ["arcs", "venusA"])
X = random_array(0, 3, 6, 4)


def executor(platform="arcs", **info):
    return {"platform": platform, "quant_info": {"gru_form": "executor", **info}}


def trained(platform, model=MODEL, x=X):
    """A model, its outputs in a training step, and its variables after it."""
    qmodel, variables = prepared(model, x, config=executor(platform))
    params = jax.tree.map(lambda w: random_array(w.size, *w.shape, scale=0.6), variables["params"])
    variables = {**variables, "params": params}
    outputs, updates = qmodel.apply(variables, x, mutable=["quant"])
    return qmodel, outputs, {**variables, **updates}


def by_hand(platform, variables):
    quant, params = variables["quant"], variables["params"]["cell"]
    scale = {name: float(entries["scale"]) for name, entries in quant.items()}
    names = {"input": "input", "hidden": "hidden", "weight_ih": "weightih", "weight_hh": "weighthh"}
    q = {name: int(np.log2(scale[f"{stem}_quantizer"])) for name, stem in names.items()}

    def steps(values, exponent):
        return np.rint(np.float64(values) * 2.0**exponent).clip(-128, 127).astype(np.int64).astype(object)

    x = np.floor(np.float64(X) * 2.0 ** q["input"] + 0.5).clip(-128, 127).astype(np.int64).astype(object)
    w = {side: steps(params[f"weight_{side}"], q[f"weight_{side}"]) for side in ("ih", "hh")}
    for side, of in (("ih", "input"), ("hh", "hidden")):
        product = np.float64(params[f"bias_{side}"]) * 2.0 ** (q[of] + q[f"weight_{side}"])
        w[f"bias_{side}"] = np.rint(product).astype(np.int64).astype(object)
    h, found = np.zeros((len(X), UNITS), object), []
    for t in range(X.shape[1]):
        h = integer_cells.executor_gru(Platform(platform), x[:, t], h, w, q)
        found.append(h)
    return np.stack(found, 1).astype(np.float32) / np.float32(256)


@BOTH
def test_training_evaluation_and_integers_by_hand(platform):
    qmodel, outputs, variables = trained(platform)
    assert float(variables["quant"]["hidden_quantizer"]["scale"]) == 256
    wanted = by_hand(platform, variables)
    assert np.unique(wanted).size > 20
    np.testing.assert_array_equal(outputs, wanted)
    np.testing.assert_array_equal(qmodel.apply(variables, X), wanted)
    np.testing.assert_array_equal(qmodel.apply(variables, X, mode="integer"), wanted)


def test_the_state_keeps_its_scale_whatever_it_holds():
    """It is cut at half, and would be halved at each step at another scale."""
    qmodel, _, variables = trained("arcs")
    large = {**variables, "params": jax.tree.map(lambda w: 4 * w, variables["params"])}
    for _ in range(2):
        outputs, updates = qmodel.apply(large, X, mutable=["quant"])
        large = {**large, **updates}
    assert float(large["quant"]["hidden_quantizer"]["running_data"].reshape(())) > 0.5
    assert float(large["quant"]["output_quantizer"]["scale"]) == 256
    assert (float(jnp.min(outputs)), float(jnp.max(outputs))) == (-0.5, 127 / 256)
    fresh = prepared(MODEL, X, config=executor("arcs"))[1]
    calibrated = linger_jax.calibrate(qmodel, fresh, [(X,)], progress=False)
    assert float(calibrated["quant"]["hidden_quantizer"]["scale"]) == 256


def test_the_gradient_is_that_of_the_float_layer():
    """Where nothing is cut, as far as 7 bits of a gate tell."""
    qmodel, _, variables = trained("arcs")
    small = jax.tree.map(lambda w: 0.1 * w, variables["params"])
    weights = np.cos(np.arange(3 * 6 * UNITS, dtype=np.float32)).reshape(3, 6, UNITS)

    def of_quantized(params):
        return jnp.sum(weights * qmodel.apply({**variables, "params": params}, X, mutable=["quant"])[0])

    found = jax.grad(of_quantized)(small)
    wanted = jax.grad(lambda params: jnp.sum(weights * MODEL.apply({"params": params}, X)))(small)
    for got, want in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(got, want, atol=0.05 * float(jnp.max(jnp.abs(want))))


def test_what_venus_a_does_not_read_moves_nothing_and_gets_no_gradient():
    qmodel, outputs, variables = trained("venusA")
    changed = jax.tree.map(jnp.asarray, variables)
    cell = dict(changed["params"]["cell"])
    for name in ("weight_hh", "bias_hh"):
        cell[name] = cell[name].at[..., : 2 * UNITS].set(3.0)
    changed = {**changed, "params": {"cell": cell}}
    np.testing.assert_array_equal(qmodel.apply(changed, X), outputs)
    gradient = jax.grad(lambda params: jnp.sum(qmodel.apply({**variables, "params": params}, X, mutable=["quant"])[0]))(
        variables["params"]
    )["cell"]
    for name in ("weight_hh", "bias_hh"):
        assert not np.any(gradient[name][..., : 2 * UNITS])
        assert np.any(gradient[name][..., 2 * UNITS :])


@BOTH
def test_a_quantized_input_is_taken_as_it_is(platform):
    qmodel, _, variables = trained(platform)
    x = on_grid(1, 32.0, 3, 6, 4)
    outputs = qmodel.apply_qtensor(variables, x)
    assert float(outputs.scale) == 256
    np.testing.assert_array_equal(outputs.value, qmodel.apply(variables, x, mode="integer"))


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (executor("mars"), "gru_form linger: mars has no measured GRU"),
        (executor("arcs", arithmetic="linger"), ""),
        (executor("arcs", weight_bits=4), "gru_form linger: executor has 8 bits throughout"),
        (executor("arcs"), "gates of 7 bits, state within +-0.5"),
        (executor("venusA"), "gates of 7 bits, state within +-0.5, reset and update gate do not read the state"),
        ({"platform": "arcs"}, ""),
        ({**executor("arcs"), "compat": "reference"}, ""),
    ],
)
def test_the_plan_says_which_cell_it_is(config, reason):
    plan = planned(nn.Sequential([MODEL]), jax.ShapeDtypeStruct((2, 5, 4), jnp.float32), config=config)
    assert row_of(plan, "layers_0").reason == reason


@BOTH
def test_lengths_and_both_directions_evaluate_as_they_train(platform):
    model = nn.Bidirectional(nn.RNN(nn.GRUCell(UNITS)), nn.RNN(nn.GRUCell(UNITS)), return_carry=True)
    qmodel, variables = prepared(model, X, config=executor(platform), seq_lengths=np.array([6, 2, 4]))
    lengths = {"seq_lengths": np.array([6, 2, 4])}
    outputs, updates = qmodel.apply(variables, X, mutable=["quant"], **lengths)
    evaluated = qmodel.apply({**variables, **updates}, X, **lengths)
    jax.tree.map(np.testing.assert_array_equal, evaluated, outputs)
    integers = qmodel.apply({**variables, **updates}, X, mode="integer", **lengths)
    jax.tree.map(np.testing.assert_array_equal, integers, outputs)
