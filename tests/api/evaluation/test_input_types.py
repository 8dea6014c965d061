"""An input is quantized by its value, whatever its real type."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linger_jax
from linger_jax.errors import UnsupportedError
from tests.interpret.steps import same_bits
from tests.models import Calls, Mlp, initialised, prepared

NUMBERS = np.random.default_rng(5).standard_normal((6, 5)).astype(np.float32)
WHOLE = np.round(NUMBERS * 40)
INPUTS = {
    "float64": np.float64(NUMBERS),
    "float16": np.float16(NUMBERS),
    "bfloat16": NUMBERS.astype(jnp.bfloat16),
    "float8": np.clip(NUMBERS, -4, 4).astype(jnp.float8_e4m3fn),
    "int64": WHOLE.astype(np.int64),
    "int8": np.clip(WHOLE, -128, 127).astype(np.int8),
    "uint8": np.abs(WHOLE).astype(np.uint8),
    "bool": NUMBERS > 0,
}


@pytest.fixture(scope="module")
def calibrated():
    qmodel, variables = prepared(Mlp(), NUMBERS)
    return qmodel, linger_jax.calibrate(qmodel, variables, [NUMBERS], progress=False)


@pytest.fixture(params=[False, True], ids=["x32", "x64"])
def any_width(request):
    with jax.enable_x64(request.param):
        yield


@pytest.fixture
def promotion():
    """As users have it: strict rules refuse integers beside floats, wherever Flax or a model meets them."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.parametrize("name", INPUTS)
def test_an_input_of_any_real_type_is_its_float32_value(calibrated, any_width, name):
    qmodel, variables = calibrated
    x, value = INPUTS[name], INPUTS[name].astype(np.float32)
    for mode in ("fake_quant", "integer"):
        y = qmodel.apply(variables, x, mode=mode)
        assert y.dtype == np.float32
        np.testing.assert_array_equal(y, qmodel.apply(variables, value, mode=mode))
    assert qmodel.plan(variables, x) == qmodel.plan(variables, value)


@pytest.mark.parametrize("name", ["float64", "uint8"])
def test_calibration_training_and_fresh_variables_take_the_value_too(promotion, any_width, name):
    qmodel, _ = prepared(Mlp(), NUMBERS)
    results = []
    for x in (INPUTS[name], INPUTS[name].astype(np.float32)):
        fresh = qmodel.init(jax.random.key(0), x)
        calibrated = linger_jax.calibrate(qmodel, fresh, [x], progress=False)
        results.append((fresh, calibrated, qmodel.apply(fresh, x, mutable=["quant"])))
    same_bits(*results)


def test_an_operator_takes_the_value_of_an_input(promotion, any_width):
    model = Calls(lambda x: nn.Dense(5)(x) * x + x)
    qmodel, variables = prepared(model, NUMBERS)
    variables = linger_jax.calibrate(qmodel, variables, [NUMBERS], progress=False)
    for x in (INPUTS["float64"], INPUTS["int8"]):
        np.testing.assert_array_equal(qmodel.apply(variables, x), qmodel.apply(variables, x.astype(np.float32)))


@pytest.mark.parametrize("name", ["float16", "uint8"])
def test_a_product_of_raw_parameters_takes_the_value_of_an_input(promotion, name):
    class Product(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x @ self.param("w", nn.initializers.normal(), (5, 3), np.float32)

    qmodel, variables = prepared(Product(), NUMBERS)
    variables = linger_jax.calibrate(qmodel, variables, [NUMBERS], progress=False)
    x = INPUTS[name]
    np.testing.assert_array_equal(qmodel.apply(variables, x), qmodel.apply(variables, x.astype(np.float32)))


def test_indices_and_masks_stay_what_they_are(promotion, any_width):
    def function(ids, mask):
        rows = nn.Embed(7, 4)(ids)
        return nn.Dense(2)(jnp.where(mask[..., None], rows, 0.0))

    ids = np.arange(16).reshape(2, 8) % 7
    mask = ids != 6
    qmodel = linger_jax.init(Calls(function))
    variables = initialised(qmodel, ids, mask)
    variables = linger_jax.calibrate(qmodel, variables, [(ids, mask)], progress=False)
    statuses = [row.status for row in qmodel.plan(variables, ids, mask).rows()]
    assert statuses.count("quantized") == 2
    y = qmodel.apply(variables, ids, mask)
    assert not np.array_equal(y[0, 0], y[0, 2])
    np.testing.assert_array_equal(y[0, 6], y[1, 5])


def test_a_list_is_the_array_it_writes_out(calibrated):
    qmodel, variables = calibrated
    written = NUMBERS.tolist()
    np.testing.assert_array_equal(qmodel.apply(variables, written), qmodel.apply(variables, NUMBERS))
    fresh = qmodel.adopt({"params": variables["params"]}, NUMBERS)
    same_bits(
        linger_jax.calibrate(qmodel, fresh, [written], progress=False),
        linger_jax.calibrate(qmodel, fresh, [NUMBERS], progress=False),
    )


def test_complex_numbers_are_refused_where_a_layer_reads_them(promotion):
    qmodel, variables = prepared(Mlp(), NUMBERS)
    with pytest.raises(UnsupportedError, match=r"first at .*: its input is complex64; .*jnp\.abs"):
        qmodel.plan(variables, NUMBERS.astype(np.complex64))
    size = linger_jax.init(Calls(lambda x: nn.Dense(3)(jnp.abs(x))))
    x = NUMBERS.astype(np.complex64)
    assert [row.status for row in size.plan(initialised(size, x), x).rows()] == ["quantized"]
    left = linger_jax.init(Mlp(), disable_submodel=["first", "second"])
    assert {row.status for row in left.plan(variables, x).rows()} == {"disabled"}
