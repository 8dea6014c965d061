"""Other bits, clamps and parts for a finished model, state kept (the reference's quant_module and const_module)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linger_jax
from linger_jax import LingerError, LingerWarning
from tests.models import Mlp, Scanned, initialised, random_array

KEY = jax.random.key(0)
X = random_array(4, 16, 5)
QUANTIZERS = [
    f"{layer}.{role}_quantizer" for layer in ("first", "second") for role in ("input", "weight", "bias", "output")
]


class Sum(nn.Module):
    """Two layers of different ranges, added."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(3, name="c")(3 * nn.Dense(4, name="a")(x) + nn.Dense(4, name="b")(x))


@pytest.fixture(scope="module", params=["MOM", "TQT"])
def finished(request):
    qmodel = linger_jax.init(Mlp(), {"quant_info": {"qat_method": request.param}})
    variables = linger_jax.calibrate(qmodel, initialised(qmodel, X), [X], progress=False)
    return qmodel, variables


def test_scales_lists_every_quantizer_by_its_dotted_name(finished):
    _, variables = finished
    found = linger_jax.scales(variables)
    assert sorted(found) == sorted(QUANTIZERS)
    assert found["first.weight_quantizer"] == variables["quant"]["first"]["weight_quantizer"]["scale"]
    with pytest.raises(LingerError, match="no 'quant' collection"):
        linger_jax.scales({"params": variables["params"]})


def test_other_bits_keep_parameters_and_statistics_and_scales_follow(finished):
    qmodel, variables = finished
    finer = qmodel.replace_config(
        {"quant_info": {"weight_bits": 12}, "p1": {"name": "second", "quant_info": {"output_bits": 16}}}
    )
    assert finer.settings.config.quant_info.activate_bits == 8
    taken = finer.take_over(qmodel, variables, X)
    jax.tree.map(np.testing.assert_array_equal, taken["params"], variables["params"])
    for layer in ("first", "second"):
        for role, entries in taken["quant"][layer].items():
            before = variables["quant"][layer][role]
            assert all((entries[name] == before[name]).all() for name in entries if name != "scale")
    old, new = linger_jax.scales(variables), linger_jax.scales(taken)
    bits = {"first.weight": 4, "second.weight": 4, "first.bias": 4, "second.bias": 4, "second.output": 8}
    assert {n: new[n] / old[n] for n in new} == {n: 2.0 ** bits.get(n.removesuffix("_quantizer"), 0) for n in new}
    want = linger_jax.calibrate(finer, finer.adopt(variables, X), [X], progress=False)
    np.testing.assert_array_equal(finer.apply(taken, X), finer.apply(want, X))


@pytest.mark.parametrize("method", ["MOM", "TQT"])
def test_another_method_takes_its_entries_from_the_statistic(finished, method):
    qmodel, variables = finished
    other = qmodel.replace_config({"quant_info": {"qat_method": method}})
    taken = other.take_over(qmodel, variables, X)
    assert jax.tree.structure(taken) == jax.tree.structure(other.adopt(variables, X))
    assert linger_jax.scales(taken) == linger_jax.scales(variables)
    np.testing.assert_array_equal(other.apply(taken, X), qmodel.apply(variables, X))
    back = qmodel.take_over(other, taken, X)
    for name, entries in variables["quant"]["first"].items():
        for entry in entries.keys() - {"is_init_mom_clamp_weight"}:
            np.testing.assert_allclose(back["quant"]["first"][name][entry], entries[entry], rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), back["params"], variables["params"])


def test_scales_that_depend_on_other_scales_follow_in_the_order_of_values():
    qmodel = linger_jax.init(Sum())
    variables = linger_jax.calibrate(qmodel, initialised(qmodel, X), [X], progress=False)
    finer = qmodel.replace_config({"p": {"name": "a", "quant_info": {"output_bits": 4}}})
    found = linger_jax.scales(finer.take_over(qmodel, variables, X))
    assert found["a.output_quantizer"] == linger_jax.scales(variables)["a.output_quantizer"] / 16
    product, total = "_linger_qtensor_qmul_0", "_linger_qtensor_qadd_1"
    assert found[f"{product}.input_quantizer.1"] == found["a.output_quantizer"] or (
        found[f"{product}.input_quantizer.0"] == found["a.output_quantizer"]
    )
    assert found[f"{total}.output_quantizer"] <= found["b.output_quantizer"]
    assert found["c.input_quantizer"] == found[f"{total}.output_quantizer"]
    assert found["c.bias_quantizer"] == found["c.input_quantizer"] * found["c.weight_quantizer"]


def test_another_weight_clamp_clamps_the_weights_once_more_and_the_same_one_does_not():
    qmodel = linger_jax.init(Mlp())
    variables = initialised(qmodel, X)
    kernel = variables["params"]["first"]["kernel"]
    tighter = qmodel.replace_config({"clamp_info": {"clamp_factor_value": 1}})
    with pytest.warns(linger_jax.LingerWarning, match=r"first: weights .*clamp_factor_value"):
        taken = tighter.take_over(qmodel, variables, X)
    bound = jnp.mean(jnp.abs(kernel))
    np.testing.assert_allclose(taken["params"]["first"]["kernel"], jnp.clip(kernel, -bound, bound), rtol=1e-6)
    same = tighter.replace_config({"quant_info": {"activate_bits": 16}})
    again = same.take_over(tighter, taken, X)
    jax.tree.map(np.testing.assert_array_equal, again["params"], taken["params"])


def test_gates_and_hidden_state_of_a_recurrent_layer_follow_too():
    class Recurrent(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.RNN(nn.OptimizedLSTMCell(4), name="rnn")(x)

    x = random_array(2, 2, 3, 5)
    qmodel = linger_jax.init(Recurrent())
    adopted = qmodel.init(KEY, x)
    variables = linger_jax.calibrate(qmodel, adopted, [x], progress=False)
    finer = qmodel.replace_config({"quant_info": {"weight_bits": 12}})
    want = linger_jax.calibrate(finer, finer.adopt(adopted, x), [x], progress=False)
    assert linger_jax.scales(finer.take_over(qmodel, variables, x)) == linger_jax.scales(want)


def test_stacked_layers_are_taken_over_each_with_its_own_numbers():
    x = random_array(1, 3, 4)
    qmodel = linger_jax.init(Scanned())
    variables = linger_jax.calibrate(qmodel, initialised(qmodel, x), [x], progress=False)
    tqt = qmodel.replace_config({"quant_info": {"qat_method": "TQT", "weight_bits": 10}})
    taken = tqt.take_over(qmodel, variables, x)
    name = "steps.dense.weight_quantizer"
    np.testing.assert_array_equal(linger_jax.scales(taken)[name], 4 * linger_jax.scales(variables)[name])
    assert taken["params"]["steps"]["dense"]["weight_quantizer"]["learning_data"].shape == (3, 1)


def test_quantizers_without_state_start_afresh_and_are_named():
    qmodel = linger_jax.init(Mlp(), disable_submodel="second")
    variables = initialised(qmodel, X)
    whole = linger_jax.init(Mlp())
    with pytest.warns(LingerWarning, match=r"no state yet.*second\.input_quantizer"):
        taken = whole.take_over(qmodel, variables, X)
    assert jax.tree.structure(taken) == jax.tree.structure(whole.init(KEY, X))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"compat": "reference"}, "cannot change compat"),
        ({"open_quant": False}, "cannot change open_quant"),
        ({"quant_info": {"weight_bit": 4}}, "weight_bits"),
        ({"quant_info": {"weight_bits": 99}}, "Allowed: 2 to 32"),
    ],
)
def test_what_cannot_change_is_refused(finished, changes, message):
    with pytest.raises(LingerError, match=message):
        finished[0].replace_config(changes)


def test_variables_of_another_model_are_refused(finished):
    qmodel, variables = finished
    with pytest.raises(LingerError, match="only the configuration may differ"):
        linger_jax.init(Mlp(hidden=9)).take_over(qmodel, variables, X)
    with pytest.raises(LingerError, match="have to be quantized"):
        linger_jax.constrain(Mlp()).take_over(qmodel, variables, X)


def test_a_configuration_or_a_file_replaces_keys_too(finished, tmp_path):
    qmodel, _ = finished
    (tmp_path / "changes.yaml").write_text("clamp_info: {clamp_activation_value: 4}\n")
    changed = qmodel.replace_config(tmp_path / "changes.yaml")
    assert changed.settings.config.clamp_info.clamp_activation_value == 4
    assert changed.settings.config.quant_info == qmodel.settings.config.quant_info
    assert qmodel.replace_config(changed.settings.config).settings == changed.settings
