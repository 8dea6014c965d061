"""Calibration through the public functions: contexts, batches, refusals, the user's own methods."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linger_jax
from linger_jax import LingerError
from linger_jax.errors import CalibrationError, StateError
from linger_jax.quantizers import CalibrationResult
from tests.interpret.steps import TQT, same_bits
from tests.models import Mlp, ResidualCnn, drawn, initialised, random_array

KEY = jax.random.key(0)
X = random_array(0, 6, 5)
CONFIGS = pytest.mark.parametrize("config", [None, TQT], ids=["MOM", "TQT"])


def prepared(config=None, model=None, x=X):
    qmodel = linger_jax.init(model or Mlp(), config)
    return qmodel, initialised(qmodel, x)


def statistics(variables, config):
    """The statistic of every quantizer by name; thresholds as the statistic they stand for."""
    collection, entry = ("params", "learning_data") if config else ("quant", "running_data")
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables[collection]):
        if path[-1].key == entry:
            found[".".join(key.key for key in path[:-1])] = float(np.ravel(leaf)[0])
    return found


@CONFIGS
def test_several_batches_give_the_largest_statistic_of_all(config):
    largest = {"a_calibrate_name": "abs_max", "w_calibrate_name": "abs_max", "calibrate_exponent": "nearest"}
    qmodel, variables = prepared({"quant_info": {**(config or {}).get("quant_info", {}), **largest}})
    batches = [X, 3 * random_array(1, 6, 5), 0.1 * X]
    apart = [statistics(linger_jax.calibrate(qmodel, variables, [b], progress=False), config) for b in batches]
    joined = statistics(linger_jax.calibrate(qmodel, variables, batches, progress=False), config)
    names = [n for n in joined if "bias" not in n and n != "second.input_quantizer"]
    assert len(names) == 5
    for name in names:
        assert joined[name] == max(one[name] for one in apart), name


@CONFIGS
def test_calibrating_with_the_context_is_calibrating_with_one_batch(config):
    qmodel, variables = prepared(config)
    with linger_jax.calibration():
        _, updates = qmodel.apply(variables, X, mutable=["quant"])
    assert set(updates) == {"quant", "params"}
    same_bits({**variables, **updates}, linger_jax.calibrate(qmodel, variables, [X], progress=False))


def test_context_returns_updates_without_mutable_too():
    qmodel, variables = prepared()
    with linger_jax.calibration():
        _, updates = qmodel.apply(variables, X)
    assert set(updates) == {"quant", "params"}


def test_context_ends_with_an_error():
    qmodel, variables = prepared()
    calibrated = linger_jax.calibrate(qmodel, variables, [X], progress=False)
    with pytest.raises(KeyError), linger_jax.calibration():
        raise KeyError
    assert isinstance(qmodel.apply(calibrated, X), jax.Array)


def test_function_that_was_compiled_before_is_traced_again_in_the_context():
    qmodel, variables = prepared()

    @jax.jit
    def step(variables, x):
        return qmodel.apply(variables, x, mutable=["quant"])[1]["quant"]

    trained = step(variables, X)
    with linger_jax.calibration():
        calibrated = step(variables, X)
    same_bits(step(variables, X), trained)
    same_bits(calibrated, linger_jax.calibrate(qmodel, variables, [X], progress=False)["quant"])
    assert not np.array_equal(
        calibrated["first"]["output_quantizer"]["running_data"], trained["first"]["output_quantizer"]["running_data"]
    )


def test_batches_are_arrays_tuples_or_mappings_from_any_iterable():
    qmodel, variables = prepared()
    wanted = linger_jax.calibrate(qmodel, variables, [X, X], progress=False)
    for batches in ([(X,), (X,)], [{"x": X}, {"x": X}], iter([X, X]), (x for x in (X, np.asarray(X)))):
        same_bits(linger_jax.calibrate(qmodel, variables, batches, progress=False), wanted)


def test_keyword_arguments_and_keys_go_to_every_call():
    x = random_array(1, 2, 8, 8, 4)
    qmodel, variables = prepared(model=ResidualCnn(blocks=1, dropout=0.5), x=x)
    calibrated = linger_jax.calibrate(qmodel, variables, [x], train=False, progress=False)
    assert bool(calibrated["quant"]["head"]["output_quantizer"]["is_init"])
    same_bits(calibrated["batch_stats"], variables["batch_stats"])


def test_progress_bar_does_not_change_the_result(capsys):
    qmodel, variables = prepared()
    same_bits(
        linger_jax.calibrate(qmodel, variables, [X]), linger_jax.calibrate(qmodel, variables, [X], progress=False)
    )
    capsys.readouterr()


@CONFIGS
def test_second_calibration_is_refused_and_names_the_quantizers(config):
    qmodel, variables = prepared(config)
    calibrated = linger_jax.calibrate(qmodel, variables, [X], progress=False)
    before = jax.tree.map(np.array, calibrated)
    with pytest.raises(StateError, match=r"has been calibrated already .*first\.input_quantizer"):
        linger_jax.calibrate(qmodel, calibrated, [X], progress=False)
    with pytest.raises(StateError), linger_jax.calibration():
        qmodel.apply(calibrated, X)
    same_bits(calibrated, before)


def test_calibrating_after_training_is_refused():
    qmodel, variables = prepared()
    _, updates = qmodel.apply(variables, X, mutable=["quant"])
    with pytest.raises(StateError, match="has been calibrated already"):
        linger_jax.calibrate(qmodel, {**variables, **updates}, [X], progress=False)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@CONFIGS
def test_data_that_is_not_finite_is_refused_and_nothing_changes(config, bad):
    qmodel, variables = prepared(config)
    before = jax.tree.map(np.array, variables)
    with pytest.raises(CalibrationError, match=r"NaN or infinity at first\.input_quantizer"):
        linger_jax.calibrate(qmodel, variables, [X, X.at[0, 0].set(bad)], progress=False)
    same_bits(variables, before)


def test_weights_that_are_not_finite_are_refused_by_their_quantizer():
    qmodel, variables = prepared()
    kernel = variables["params"]["second"]["kernel"]
    variables["params"]["second"]["kernel"] = kernel.at[0, 0].set(jnp.nan)
    with pytest.raises(CalibrationError) as error:
        linger_jax.calibrate(qmodel, variables, [X], progress=False)
    assert str(error.value).split(" at ")[1].split(" (")[0] == "second.weight_quantizer, second.output_quantizer"


@pytest.mark.parametrize("batches", [[], iter(())])
def test_no_batch_is_refused(batches):
    qmodel, variables = prepared()
    with pytest.raises(LingerError, match="there was no batch"):
        linger_jax.calibrate(qmodel, variables, batches, progress=False)


def test_empty_batch_is_refused_by_its_name():
    qmodel, variables = prepared()
    with pytest.raises(LingerError, match=r"args\[0\] has shape \(0, 5\)"):
        linger_jax.calibrate(qmodel, variables, [X, X[:0]], progress=False)


def test_calibration_of_variables_without_state_is_refused():
    qmodel, variables = prepared()
    with pytest.raises(StateError, match="no 'quant' collection"):
        linger_jax.calibrate(qmodel, {"params": variables["params"]}, [X], progress=False)


def mean_magnitude(quantizer, t, bits):
    del quantizer, bits
    return CalibrationResult(learning_data=jnp.log2(jnp.mean(jnp.abs(t))).reshape(1))


linger_jax.register_calibrate_method("mean_magnitude_of_a_test", mean_magnitude)


@CONFIGS
def test_registered_method_is_used_by_its_name(config):
    method = "TQT" if config else "MOM"
    info = {"qat_method": method, "a_calibrate_name": "mean_magnitude_of_a_test", "calibrate_exponent": "nearest"}
    qmodel, variables = prepared({"quant_info": info})
    calibrated = linger_jax.calibrate(qmodel, variables, [X], progress=False)
    found = statistics(calibrated, config)["first.input_quantizer"]
    wanted = np.mean(np.abs(X))
    np.testing.assert_allclose(2.0**found if config else found, wanted, rtol=1e-6)
    scale = calibrated["quant"]["first"]["input_quantizer"]["scale"]
    assert float(scale) == 2.0 ** np.rint(7 - np.log2(wanted))


@pytest.mark.parametrize("key", ["a_calibrate_name", "w_calibrate_name"])
def test_unknown_method_is_refused_with_the_known_names_when_the_model_is_made(key):
    part = {"p": {"name": "first", "quant_info": {key: "median"}}}
    for config in ({"quant_info": {key: "median"}}, part):
        with pytest.raises(
            CalibrationError, match=r"'median': known are abs_max, .*kl, .*mse, percentile, .*top_10, .*w_like"
        ):
            linger_jax.init(Mlp(), config)
    with pytest.raises(CalibrationError, match=r"did you mean 'percentile'\? Known"):
        linger_jax.init(Mlp(), {"quant_info": {key: "percentil"}})


@CONFIGS
def test_calibrated_model_evaluates_close_to_the_float_model(config):
    info = {**(config or {}).get("quant_info", {}), "a_calibrate_name": "abs_max"}
    x = random_array(1, 64, 5)
    qmodel, variables = prepared({"quant_info": info}, x=x)
    calibrated = linger_jax.calibrate(qmodel, variables, [x], progress=False)
    wanted = np.asarray(Mlp().apply({"params": drawn(Mlp(), x)["params"]}, x))
    error = np.abs(qmodel.apply(calibrated, x) - wanted)
    # The scale rule rounds to the nearest power of two: values beyond 0.7 of the largest may saturate.
    assert np.median(error) < 0.02 * np.abs(wanted).max()
    assert error.max() < 0.35 * np.abs(wanted).max()
