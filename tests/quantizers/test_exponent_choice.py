"""Which power of two a calibration takes (docs/decisions.md D25)."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from linger_jax.config import ActivationType, CalibrateExponent, QatMethod, RoundMode
from linger_jax.quantizers import QuantizerKind, QuantizerSpec, initial_state, quantize, w_like
from tests.models import normal, random_array
from tests.quantizers.calibrating import calibrated

SIZE = 240


def spec_of(**fields) -> QuantizerSpec:
    kind = fields.pop("kind", QuantizerKind.activation)
    return QuantizerSpec(kind=kind, calibrate_exponent=CalibrateExponent.least_error, **{"bits": 8, **fields})


def by_hand(x, bits, statistic, rounded=lambda v: np.floor(v + 0.5)):
    """The exponent with the least squared error among those within three of the nearest; the coarser of equal ones."""
    nearest = int(np.clip(np.rint(bits - 1 - np.log2(max(statistic, 1e-6))), 0, 23))
    low, high = -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1
    errors = {}
    for exponent in range(max(nearest - 3, 0), min(nearest + 3, 23) + 1):
        quantized = np.clip(rounded(x.astype(np.float64) * 2.0**exponent), low, high) * 2.0**-exponent
        errors[exponent] = ((x - quantized) ** 2).sum()
    return min(errors, key=lambda exponent: (np.float32(errors[exponent]), exponent))


def samples(magnitude):
    """Data of several shapes: uniform, bell-shaped, with outliers, mostly zero, on a grid."""
    bell, flat = np.asarray(normal(SIZE)), np.random.default_rng(7).uniform(-1, 1, SIZE).astype(np.float32)
    with_outliers, sparse, whole = bell.copy(), bell.copy(), np.rint(bell * 20) / np.float32(16)
    with_outliers[:12] *= 30
    sparse[20:] = 0
    return [np.float32(magnitude) * x for x in (flat, bell, with_outliers, sparse, whole)]


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
@pytest.mark.parametrize("method", ["abs_max", "top_10"])
@pytest.mark.parametrize("qat_method", QatMethod)
def test_it_has_the_least_error_of_those_near_the_range(bits, method, qat_method):
    spec = spec_of(bits=bits, calibrate_name=method, qat_method=qat_method)
    for magnitude in (3e-5, 0.013, 1.3, 2.7, 900.0):
        for x in samples(magnitude):
            largest = np.sort(np.abs(x))[-10 if method == "top_10" else -1]
            assert float(calibrated(spec, x)["scale"]) == 2.0 ** by_hand(x, bits, largest)


@pytest.mark.parametrize(("mode", "rounded"), [(RoundMode.floor, np.floor), (RoundMode.round, np.rint)])
def test_the_error_is_that_of_the_quantizers_own_rounding(mode, rounded):
    spec = spec_of(bits=4, round_mode=mode)
    for x in samples(1.7):
        assert float(calibrated(spec, x)["scale"]) == 2.0 ** by_hand(x, 4, np.abs(x).max(), rounded)


@pytest.mark.parametrize("qat_method", QatMethod)
def test_the_split_into_batches_decides_nothing(qat_method):
    spec = spec_of(qat_method=qat_method)
    for x in samples(1.9):
        whole = calibrated(spec, x)
        for parts in (2, 3, 8):
            for order in (1, -1):
                split = calibrated(spec, *np.split(x, parts)[::order])
                for name in initial_state(spec):
                    np.testing.assert_array_equal(split[name], whole[name])


def test_a_later_batch_can_overrule_an_earlier_one():
    spec = spec_of()
    narrow, wide = 0.02 * normal(SIZE), random_array(3, SIZE)
    alone, together = calibrated(spec, narrow)["scale"], calibrated(spec, narrow, 9 * wide)["scale"]
    assert float(together) == 2.0 ** by_hand(np.concatenate([narrow, 9 * wide]), 8, np.abs(9 * wide).max())
    assert together < alone


def test_of_equal_errors_the_coarser_grid_is_taken():
    x = np.full(SIZE, 5.0, np.float32)
    assert calibrated(spec_of(), x)["scale"] == 2.0**2


@pytest.mark.parametrize(
    ("qat_method", "entry", "floor"), [("MOM", "running_data", 1e-6), ("TQT", "learning_data", -19.93)]
)
@pytest.mark.parametrize("exponent", CalibrateExponent)
def test_zeros_leave_the_floor(qat_method, entry, floor, exponent):
    """So that training replaces it (docs/decisions.md D28)."""
    spec = dataclasses.replace(spec_of(qat_method=QatMethod(qat_method)), calibrate_exponent=exponent)
    state = calibrated(spec, np.zeros(SIZE, np.float32))
    assert state["scale"] == 2.0**23
    np.testing.assert_allclose(np.ravel(state[entry]), [floor], rtol=1e-3)


@pytest.mark.parametrize("qat_method", QatMethod)
@pytest.mark.parametrize("bits", [2, 8, 16])
def test_the_next_training_step_keeps_it(qat_method, bits):
    spec = spec_of(bits=bits, qat_method=qat_method)
    for magnitude in (1e-8, 1e-3, 1.0, 1e5):
        for x in samples(magnitude):
            state = calibrated(spec, x)
            own = {name: state[name] for name in initial_state(spec)}
            assert quantize(spec, x, own, training=True)[1]["scale"] == state["scale"]


def test_where_a_relu_follows_only_positive_values_count():
    spec = spec_of(activation_type=ActivationType.Relu)
    x = random_array(5, SIZE) + np.float32(0.4)
    below = np.where(x < 0, 100 * x, x)
    assert calibrated(spec, below)["scale"] == calibrated(spec, x)["scale"]


@pytest.mark.parametrize("qat_method", QatMethod)
def test_no_clip_rounds_the_range_up(qat_method):
    spec = QuantizerSpec(
        kind=QuantizerKind.activation, bits=8, qat_method=qat_method, calibrate_exponent=CalibrateExponent.no_clip
    )
    for largest, power in [(1.0, 1), (1.01, 2), (1.49, 2), (2.0, 2), (0.26, 0.5), (1e-9, 2.0**-16), (1e9, 128)]:
        x = np.float32(largest) * np.array([1.0, -0.3], np.float32)
        assert calibrated(spec, x)["scale"] == 128 / power


def test_w_like_starts_the_choice_and_no_scale_is_below_one():
    spec = spec_of(kind=QuantizerKind.weight, calibrate_name="w_like")
    assert calibrated(spec, 300 * normal(SIZE))["scale"] == 1
    for x in samples(0.3):
        found = w_like(spec, x, 8)
        assert found.scale is None
        assert calibrated(spec, x)["scale"] == 2.0 ** by_hand(x, 8, 2.0 ** found.learning_data[0], np.rint)
