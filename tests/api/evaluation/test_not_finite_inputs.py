"""Infinities saturate, NaN stays NaN or is refused, and the largest numbers overflow nowhere on the way."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linger_jax
from linger_jax import LingerError
from linger_jax.nn import SparifyFFN
from tests.models import Calls, initialised, prepared, random_array


def pools(x):
    with jax.numpy_dtype_promotion("standard"):  # Flax divides by a number of NumPy
        average = nn.avg_pool(x, (2, 2), (2, 2))
    return nn.Dense(2)(average), jnp.mean(nn.max_pool(nn.Conv(2, (1, 1))(x), (2, 2)), (1, 2))


VENUS_A = {"platform": "venusA"}
MODELS = {
    "Dense and its functions": (
        lambda x: [f(nn.Dense(8)(x)) for f in (nn.sigmoid, nn.gelu, nn.softmax, nn.glu, nn.relu)],
        (3, 6),
    ),
    "operators": (lambda x: jnp.concatenate([nn.Dense(6)(x) + x, nn.Dense(6)(x) * x, x], -1), (3, 6)),
    "pools": (pools, (2, 4, 4, 2)),
    "norms": (lambda x: nn.LayerNorm(epsilon=1e-5)(nn.BatchNorm(use_running_average=True)(x)), (3, 6)),
    "LSTM": (lambda x: nn.RNN(nn.OptimizedLSTMCell(3))(x), (2, 5, 4)),
    "GRU": (lambda x: nn.RNN(nn.GRUCell(3), reverse=True, keep_order=True)(x), (2, 5, 4)),
    "SparifyFFN": (lambda x: SparifyFFN(16, 8, 16)(x), (3, 16)),
}
NAMES = pytest.mark.parametrize("name", MODELS)


def scaled(variables):
    """Variables whose quantizers have seen data, all at one scale: nothing is compiled for them."""

    def entry(path, leaf):
        known = {"scale": np.float32(16), "is_init": np.True_, "running_data": np.float32(8)}
        return np.full(leaf.shape, known.get(path[-1].key, leaf))

    return {**variables, "quant": jax.tree.map_with_path(entry, variables["quant"])}


def in_use(name):
    model, shape = MODELS[name]
    x = np.asarray(random_array(0, *shape))
    qmodel, variables = prepared(Calls(model), x, config=VENUS_A)
    return qmodel, scaled(variables), x


def with_first(x, value):
    x = x.copy()
    x[(0,) * x.ndim] = value
    return x


def leaves(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


@NAMES
def test_an_infinity_evaluates_as_the_largest_number(name):
    qmodel, variables, x = in_use(name)
    for sign in (1, -1):
        largest = with_first(x, sign * 3e38)
        infinite = with_first(x, sign * np.inf)
        results = [leaves(qmodel.apply(variables, y)) for y in (infinite, largest, with_first(x, sign * 1e4))]
        assert np.isfinite(results[0]).all()
        np.testing.assert_array_equal(results[0], results[1])
        np.testing.assert_array_equal(results[0], results[2])


@pytest.mark.parametrize("name", ["pools", "norms"])
def test_a_training_step_on_an_infinity_stays_finite(name):
    qmodel, variables, x = in_use(name)
    output, updates = qmodel.apply(variables, with_first(x, np.inf), mutable=["quant"])
    assert np.isfinite(leaves((output, updates))).all()


@NAMES
def test_nan_is_nan_in_evaluation_where_it_is_in_the_float_model(name):
    qmodel, variables, x = in_use(name)
    x = with_first(x, np.nan)
    flax = {collection: tree for collection, tree in variables.items() if collection != "quant"}
    evaluated = np.isnan(leaves(qmodel.apply(variables, x)))
    assert 0 < evaluated.sum() < evaluated.size
    np.testing.assert_array_equal(evaluated, np.isnan(leaves(qmodel.model.apply(flax, x))))


@pytest.mark.parametrize("name", ["pools", "LSTM"])
def test_nan_is_refused_in_integers_and_under_jit_is_every_result(name):
    qmodel, variables, x = in_use(name)
    with pytest.raises(LingerError, match=r"mode='integer': NaN at .*input_quantizer"):
        qmodel.apply(variables, with_first(x, np.nan), mode="integer")
    run = jax.jit(lambda x: qmodel.apply(variables, x, mode="integer"))
    assert np.isnan(leaves(run(with_first(x, np.nan)))).all()
    np.testing.assert_array_equal(leaves(run(x)), leaves(qmodel.apply(variables, x)))


def test_nan_is_seen_in_integers_within_loops_and_remat():
    class Step(nn.Module):
        @nn.compact
        def __call__(self, x, row):
            return nn.Dense(4)(x + row), None

    def function(x):
        scan = nn.scan(nn.remat(Step), variable_broadcast="params", split_rngs={"params": False})
        return scan()(nn.Dense(4)(x[0]), x)[0]

    qmodel = linger_jax.init(Calls(function))
    x = np.array(random_array(0, 3, 2, 4))
    variables = scaled(initialised(qmodel, x))
    x[2, 0, 0] = np.nan
    with pytest.raises(LingerError, match="mode='integer': NaN at "):
        qmodel.apply(variables, x, mode="integer")


def test_variance_of_a_batch_with_nan_is_nan():
    qmodel = linger_jax.init(Calls(lambda x: nn.BatchNorm(use_running_average=False)(x)))
    x = np.asarray(random_array(0, 4, 3))
    variables = initialised(qmodel, x)
    _, updates = qmodel.apply(variables, with_first(x, np.nan), mutable=["quant", "batch_stats"])
    assert np.isnan(leaves(updates["batch_stats"])).all()


@pytest.mark.parametrize("cell", [nn.OptimizedLSTMCell, nn.GRUCell])
def test_an_initial_state_beyond_its_integers_saturates(cell):
    def function(x, carry):
        cells = cell(3)
        return nn.RNN(cells)(x, initial_carry=(jnp.zeros_like(carry), carry) if cell is nn.OptimizedLSTMCell else carry)

    qmodel = linger_jax.init(Calls(function), VENUS_A)
    x, carry = np.asarray(random_array(0, 2, 4, 5)), np.zeros((2, 3), np.float32)
    variables = scaled(initialised(qmodel, x, carry))
    results = [qmodel.apply(variables, x, with_first(carry, value)) for value in (1e4, 2e9, 3e38, np.inf)]
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])
    assert np.isfinite(results[0]).all()


def test_calibration_of_the_largest_numbers_gives_finite_scales_or_says_where_the_float_pass_overflows():
    for config in (None, {"quant_info": {"a_calibrate_name": "w_like"}}):
        qmodel = linger_jax.init(Calls(lambda x: nn.Dense(2, kernel_init=nn.initializers.zeros)(x)), config)
        x = np.full((4, 3), 3.4e38, np.float32)
        fresh = qmodel.init(jax.random.key(0), x)
        assert np.isfinite(leaves(linger_jax.calibrate(qmodel, fresh, [x], progress=False))).all()
    fresh["params"]["Dense_0"]["kernel"] = np.ones((3, 2), np.float32)
    with pytest.raises(linger_jax.CalibrationError, match=r"infinity at Dense_0\.output_quantizer \(.*float pass"):
        linger_jax.calibrate(qmodel, fresh, [x], progress=False)
