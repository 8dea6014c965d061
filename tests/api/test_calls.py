"""What init, adopt, plan and apply take, and what they refuse with a clear error."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linger_jax
from linger_jax import LingerError, QuantConfig
from linger_jax.errors import PlatformLimitError, StateError
from linger_jax.plan import PlanError
from tests.interpret.steps import TQT, same_bits
from tests.models import Mlp, ResidualCnn, SetupMlp, initialised, random_array

X = random_array(0, 3, 5)
IMAGE = random_array(1, 2, 8, 8, 4)
KEY = jax.random.key(0)


# --- making a model ---


def test_model_is_made_from_a_file_a_mapping_a_configuration_or_nothing(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("platform: mars\n")
    for config in (path, str(path), {"platform": "mars"}, QuantConfig(platform="mars")):
        assert linger_jax.init(Mlp(), config).settings.config == QuantConfig(platform="mars")
    assert linger_jax.init(Mlp()).settings.config == QuantConfig()


@pytest.mark.parametrize("make", [linger_jax.init, linger_jax.constrain])
@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (nn.Dense, {}, "expected a flax.linen Module instance, got ABCMeta|ModuleMeta|type"),
        (lambda x: x, {}, "expected a flax.linen Module instance, got function"),
        (Mlp(), {"disable_module": ("Dense",)}, "disable_module takes flax.linen module types, got 'Dense'"),
        (Mlp(), {"disable_module": nn.Dense(3)}, "disable_module takes flax.linen module types"),
        (Mlp(), {"disable_module": (nn.relu,)}, "disable_module takes flax.linen module types"),
        (Mlp(), {"disable_submodel": 3}, "disable_submodel takes dotted module names, got 3"),
        (Mlp(), {"disable_submodel": (nn.Dense,)}, "disable_submodel takes dotted module names"),
        (Mlp(), {"config": 3}, "configuration"),
        (Mlp(), {"config": {"platfrom": "mars"}}, "platfrom"),
        (Mlp(), {"config": "no/such/file.yaml"}, "no/such/file.yaml"),
    ],
)
def test_bad_arguments_are_refused(make, model, options, message):
    with pytest.raises(LingerError, match=message):
        make(model, **options)


def test_bound_module_is_refused():
    bound = Mlp().bind(Mlp().init(KEY, X))
    with pytest.raises(LingerError, match="bound to variables"):
        linger_jax.init(bound)


def test_text_of_a_model_says_what_it_is():
    assert repr(linger_jax.init(Mlp())) == "QuantizedModel(Mlp, quantize, active=True)"
    assert repr(linger_jax.constrain(Mlp(), {"open_quant": False})) == "QuantizedModel(Mlp, constrain, active=False)"


# --- making variables ---


def test_init_is_the_float_model_s_init_plus_state():
    qmodel = linger_jax.init(Mlp(), {"clamp_info": {"clamp_factor_value": None}})
    variables = qmodel.init(KEY, X)
    same_bits(variables["params"], Mlp().init(KEY, X)["params"])
    assert set(variables) == {"params", "quant"}


def test_init_without_a_key_takes_the_seed_of_the_configuration():
    qmodel = linger_jax.init(Mlp(), {"seed": 7})
    same_bits(qmodel.init(None, X), qmodel.init(jax.random.key(7), X))


def test_init_takes_several_keys_and_one_key_for_all():
    qmodel = linger_jax.init(ResidualCnn(blocks=1, dropout=0.5))
    several = qmodel.init({"params": KEY, "dropout": jax.random.key(1)}, IMAGE, train=True)
    one = qmodel.init(KEY, IMAGE, train=True)
    same_bits(one["params"], several["params"])


def test_state_of_every_quantizer_exists_after_init():
    for config, entries in ((None, {"running_data", "is_init", "scale"}), (TQT, {"is_calibrate", "scale"})):
        variables = linger_jax.init(Mlp(), config).init(KEY, X)
        assert set(variables["quant"]["first"]["output_quantizer"]) == entries
        weight = variables["quant"]["first"]["weight_quantizer"]
        assert set(weight) == entries | {"is_init_mom_clamp_weight"}
    thresholds = variables["params"]["first"]["output_quantizer"]["learning_data"]
    np.testing.assert_array_equal(thresholds, np.float32([2.1]))


def test_adopt_takes_float_variables_and_leaves_them_alone():
    variables = ResidualCnn(blocks=1).init(KEY, IMAGE)
    before = jax.tree.map(np.array, variables)
    qmodel = linger_jax.init(ResidualCnn(blocks=1))
    adopted = qmodel.adopt(variables, IMAGE)
    same_bits(variables, before)
    assert set(adopted) == {"params", "batch_stats", "quant"}
    same_bits(adopted["batch_stats"], variables["batch_stats"])


def test_adopt_of_quantized_variables_starts_state_afresh():
    qmodel = linger_jax.init(Mlp(), TQT)
    fresh = initialised(qmodel, X)
    used = linger_jax.calibrate(qmodel, fresh, [X], progress=False)
    adopted = qmodel.adopt(used, X)
    same_bits(adopted["quant"], fresh["quant"])
    same_bits(adopted["params"]["first"]["input_quantizer"], fresh["params"]["first"]["input_quantizer"])


def test_model_without_layers_is_refused_and_says_what_it_found():
    class Empty(nn.Module):
        @nn.compact
        def __call__(self, x):
            return jnp.tanh(nn.RMSNorm(name="norm")(x))

    for make, verb in ((linger_jax.init, "quantize"), (linger_jax.init, "quantize")):
        with pytest.raises(PlanError, match=f"Empty has no layer to {verb}; what was found:\n  norm: RMSNorm"):
            make(Empty()).init(KEY, X)
    with pytest.raises(PlanError, match="has no layer to quantize"):
        linger_jax.init(Mlp(), disable_submodel="*").init(KEY, X)


def test_layer_outside_the_platform_is_refused_before_anything_is_made():
    with pytest.raises(PlatformLimitError, match="kernel 7"):
        linger_jax.init(nn.Conv(2, (7, 7)), {"platform": "venus"}).init(KEY, IMAGE)


# --- calling conventions ---


STATIC_TYPES = (bool, int, float, str, type(None))


class Flexible(nn.Module):
    """Keyword-only inputs, a pytree, several methods, static arguments."""

    def setup(self):
        self.encoder = nn.Dense(4)
        self.decoder = nn.Dense(3)

    def encode(self, inputs, *, scale):
        return self.encoder(inputs["x"] * scale)

    def __call__(self, inputs, *, scale, repeat=1, train=False):
        hidden = self.encode(inputs, scale=scale)
        for _ in range(repeat):
            hidden = nn.relu(hidden)
        self.sow("intermediates", "hidden", hidden)
        kind = jnp.int32(STATIC_TYPES.index(type(train)))
        return {"logits": self.decoder(hidden), "kind": kind}


ARGUMENTS = {"inputs": {"x": X, "unused": None}, "scale": jnp.float32(0.5)}


def test_pytrees_and_keyword_only_inputs_go_through():
    qmodel = linger_jax.init(Flexible())
    variables = initialised(qmodel, **ARGUMENTS)
    output, updates = qmodel.apply(variables, **ARGUMENTS, mutable=["quant"])
    assert (output["logits"].shape, int(output["kind"])) == ((3, 3), 0)
    evaluated = np.ravel(qmodel.apply({**variables, **updates}, **ARGUMENTS)["logits"])
    wanted = np.ravel(Flexible().apply({"params": variables["params"]}, **ARGUMENTS)["logits"])
    assert evaluated @ wanted / np.linalg.norm(evaluated) / np.linalg.norm(wanted) > 0.95


def test_static_arguments_are_told_apart():
    qmodel = linger_jax.init(Flexible())
    variables = initialised(qmodel, **ARGUMENTS)
    for i, value in enumerate((True, 1, 1.0, "yes", None)):
        output, _ = qmodel.apply(variables, **ARGUMENTS, train=value, mutable=["quant"])
        assert int(output["kind"]) == i


def test_other_method_runs_with_the_state_of_its_layers():
    qmodel = linger_jax.init(Flexible())
    variables = initialised(qmodel, **ARGUMENTS)
    for method in ("encode", Flexible.encode):
        output, updates = qmodel.apply(
            variables, ARGUMENTS["inputs"], scale=jnp.float32(0.5), method=method, mutable="quant"
        )
        assert output.shape == (3, 4)
        assert bool(updates["quant"]["encoder"]["output_quantizer"]["is_init"])
        assert not bool(updates["quant"]["decoder"]["output_quantizer"]["is_init"])


def test_method_of_adopt_decides_whose_state_there_is():
    qmodel = linger_jax.init(Flexible())
    float_variables = Flexible().init(KEY, **ARGUMENTS)
    variables = qmodel.adopt(float_variables, ARGUMENTS["inputs"], scale=jnp.float32(0.5), method="encode")
    assert set(variables["quant"]) == {"encoder"}
    with pytest.raises(StateError, match=r"(?s)initialise with the same kind of call.*quant: decoder\."):
        qmodel.apply(variables, **ARGUMENTS)


def test_sown_values_come_back_as_plain_arrays():
    qmodel = linger_jax.init(Flexible())
    variables = initialised(qmodel, **ARGUMENTS)
    _, updates = qmodel.apply(variables, **ARGUMENTS, mutable=["quant", "intermediates"])
    (hidden,) = updates["intermediates"]["hidden"]
    assert isinstance(hidden, jax.Array)
    assert np.all(np.asarray(hidden) >= 0)


def test_outputs_on_a_grid_can_be_had_with_their_scale():
    qmodel = linger_jax.init(Flexible())
    variables = initialised(qmodel, **ARGUMENTS)
    output, updates = qmodel.apply_qtensor(variables, **ARGUMENTS, mutable=["quant"])
    logits = output["logits"]
    assert isinstance(logits, linger_jax.QTensor)
    assert float(logits.scale) == float(updates["quant"]["decoder"]["output_quantizer"]["scale"])
    steps = np.asarray(logits.value) * float(logits.scale)
    np.testing.assert_array_equal(steps, np.rint(steps))


def test_quantized_input_is_taken_as_it_is():
    x = linger_jax.QTensor(jnp.round(X * 32) / 32, jnp.float32(32.0), 8)
    qmodel = linger_jax.init(Mlp())
    variables = initialised(qmodel, x)
    _, updates = qmodel.apply(variables, x, mutable=["quant"])
    state = updates["quant"]["first"]["input_quantizer"]
    assert (float(state["scale"]), bool(state["is_init"])) == (32.0, False)


@pytest.mark.parametrize(
    ("mutable", "collections"),
    [
        (["quant"], {"quant"}),
        ("quant", {"quant"}),
        (["quant", "batch_stats"], {"quant", "batch_stats"}),
        (True, {"quant", "batch_stats", "params"}),
        ([], set()),
    ],
)
def test_update_holds_the_mutable_collections(mutable, collections):
    qmodel = linger_jax.init(ResidualCnn(blocks=1))
    variables = linger_jax.calibrate(qmodel, initialised(qmodel, IMAGE), [IMAGE], progress=False)
    train = mutable is True or "batch_stats" in mutable
    _, updates = qmodel.apply(variables, IMAGE, train=train, mutable=mutable)
    assert set(updates) == collections


def test_statistics_move_only_where_quant_is_mutable():
    qmodel = linger_jax.init(ResidualCnn(blocks=1))
    variables = linger_jax.calibrate(qmodel, initialised(qmodel, IMAGE), [IMAGE], progress=False)
    _, updates = qmodel.apply(variables, 2 * IMAGE, train=True, mutable=["batch_stats"])
    assert set(updates) == {"batch_stats"}
    _, updates = qmodel.apply(variables, 2 * IMAGE, mutable=["quant"])
    before = variables["quant"]["stem"]["input_quantizer"]["running_data"]
    assert float(updates["quant"]["stem"]["input_quantizer"]["running_data"]) > float(before)


def test_batch_statistics_that_are_not_mutable_are_refused_as_in_flax():
    qmodel = linger_jax.init(ResidualCnn(blocks=1))
    variables = initialised(qmodel, IMAGE)
    with pytest.raises(Exception, match="batch_stats"):
        qmodel.apply(variables, IMAGE, train=True, mutable=["quant"])


def test_setup_and_compact_style_have_the_same_numbers():
    compact, setup = linger_jax.init(Mlp()), linger_jax.init(SetupMlp())
    variables = setup.init(KEY, X)
    names = {"layers_0": "first", "layers_1": "second"}
    renamed = {c: {names[k]: v for k, v in entries.items()} for c, entries in variables.items()}
    one, one_updates = setup.apply(variables, X, mutable=["quant"])
    other, other_updates = compact.apply(renamed, X, mutable=["quant"])
    same_bits(one, other)
    same_bits({names[k]: v for k, v in one_updates["quant"].items()}, other_updates["quant"])


# --- open_quant: false ---


@pytest.mark.parametrize("make", [linger_jax.init, linger_jax.constrain])
def test_switched_off_model_is_the_float_model_exactly(make):
    model = ResidualCnn(blocks=1, dropout=0.5)
    qmodel = make(model, {"open_quant": False, "platform": "venus"})
    variables = qmodel.init(KEY, IMAGE)
    same_bits(variables, model.init(KEY, IMAGE))
    same_bits(qmodel.apply(variables, IMAGE), model.apply(variables, IMAGE))
    rngs = {"dropout": jax.random.key(1)}
    ours, updates = qmodel.apply(variables, IMAGE, train=True, rngs=rngs, mutable=["quant", "batch_stats"])
    wanted, wanted_updates = model.apply(variables, IMAGE, train=True, rngs=rngs, mutable=["batch_stats"])
    same_bits(ours, wanted)
    same_bits(updates, {**wanted_updates, "quant": {}})


def test_switched_off_model_sows_and_drops_quantizer_state():
    qmodel = linger_jax.init(Flexible(), {"open_quant": False})
    on = linger_jax.init(Flexible())
    variables = on.init(KEY, **ARGUMENTS)
    _, updates = qmodel.apply(variables, **ARGUMENTS, mutable=["intermediates"])
    assert set(updates) == {"intermediates"}


def test_switched_off_model_takes_a_model_without_layers():
    class Empty(nn.Module):
        def __call__(self, x):
            return x

    qmodel = linger_jax.init(Empty(), {"open_quant": False})
    same_bits(qmodel.apply(qmodel.init(KEY, X), X), X)


# --- bad state and bad input ---


def test_missing_quant_collection_is_named():
    qmodel = linger_jax.init(Mlp())
    variables = initialised(qmodel, X)
    with pytest.raises(StateError, match=r"no 'quant' collection.*qmodel\.init.*qmodel\.adopt"):
        qmodel.apply({"params": variables["params"]}, X)


def test_missing_entries_are_all_named():
    qmodel = linger_jax.init(Mlp(), TQT)
    variables = initialised(qmodel, X)
    del variables["quant"]["first"]["output_quantizer"]["scale"]
    del variables["params"]["second"]["weight_quantizer"]
    with pytest.raises(StateError) as error:
        qmodel.apply(variables, X)
    assert "missing for 2 entries" in str(error.value)
    assert "quant: first.output_quantizer.scale" in str(error.value)
    assert "params: second.weight_quantizer.learning_data" in str(error.value)


def test_state_of_another_method_is_refused():
    mom, tqt = linger_jax.init(Mlp()), linger_jax.init(Mlp(), TQT)
    with pytest.raises(StateError, match=r"params: first\.input_quantizer\.learning_data"):
        tqt.apply(mom.init(KEY, X), X)


def test_entry_of_another_shape_is_named():
    qmodel = linger_jax.init(Mlp())
    variables = initialised(qmodel, X)
    variables["quant"]["first"]["output_quantizer"]["scale"] = jnp.ones(2)
    with pytest.raises(StateError, match=r"quant: first\.output_quantizer\.scale has shape \(2,\), expected \(\)"):
        qmodel.apply(variables, X)


def test_input_of_another_rank_is_refused_by_its_name():
    qmodel = linger_jax.init(Flexible())
    variables = initialised(qmodel, **ARGUMENTS)
    other = {**ARGUMENTS, "inputs": {"x": X[None], "unused": None}}
    with pytest.raises(LingerError, match=r"kwargs\['inputs'\]\['x'\] has rank 3 .*initialised with rank 2"):
        qmodel.apply(variables, **other)
    qmodel.adopt(variables, **other)
    qmodel.apply(variables, **other, mutable=["quant"])
    qmodel.apply(variables, **ARGUMENTS, mutable=["quant"])


@pytest.mark.parametrize("run", ["init", "adopt", "plan", "apply"])
def test_empty_batch_is_refused_by_its_name(run):
    qmodel = linger_jax.init(Mlp())
    variables = initialised(qmodel, X)
    first = KEY if run == "init" else variables
    with pytest.raises(LingerError, match=r"args\[0\] has shape \(0, 5\)"):
        getattr(qmodel, run)(first, X[:0])


def test_refused_call_leaves_no_trace():
    qmodel = linger_jax.init(Mlp())
    with pytest.raises(LingerError):
        qmodel.init(KEY, X[:0])
    variables = initialised(qmodel, X)
    before = jax.tree.map(np.array, variables)
    with pytest.raises(LingerError):
        qmodel.apply(variables, X[None], mutable=["quant"])
    same_bits(variables, before)


def test_unknown_keyword_is_the_model_s_own_error():
    qmodel = linger_jax.init(Mlp())
    variables = initialised(qmodel, X)
    with pytest.raises(TypeError, match="train"):
        qmodel.apply(variables, X, train=True, mutable=["quant"])
