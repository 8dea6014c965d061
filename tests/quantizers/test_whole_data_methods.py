"""Calibration methods that see all batches as one: mse, percentile, kl, and top_10 of activations."""

from __future__ import annotations

import numpy as np
import pytest

from linger_jax.config import CalibrateExponent, QatMethod
from linger_jax.quantizers import (
    QuantizerKind,
    QuantizerSpec,
    calibrate_method,
    initial_state,
    quantize,
)
from tests.models import normal, random_array
from tests.quantizers.calibrating import calibrated

SIZE = 480
METHODS = ("mse", "percentile", "kl", "abs_max", "top_10")


def spec_of(name: str, **fields) -> QuantizerSpec:
    return QuantizerSpec(**{"kind": QuantizerKind.activation, "bits": 8, "calibrate_name": name, **fields})


def error(x, exponent, bits):
    low, high = -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1
    quantized = np.clip(np.floor(x.astype(np.float64) * 2.0**exponent + 0.5), low, high) * 2.0**-exponent
    return np.float32(((x - quantized) ** 2).sum())


def samples(magnitude):
    """Uniform; bell-shaped; one value far outside of many."""
    flat, bell = np.random.default_rng(7).uniform(-1, 1, SIZE).astype(np.float32), np.asarray(normal(SIZE))
    peak = bell.copy()
    peak[3] = 3000
    return [np.float32(magnitude) * x for x in (flat, bell, peak)]


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("qat_method", QatMethod)
def test_mse_is_the_best_of_all_exponents(bits, qat_method):
    spec = spec_of("mse", bits=bits, qat_method=qat_method)
    for magnitude in (1e-5, 0.04, 1.3, 700.0):
        for x in samples(magnitude):
            errors = [error(x, exponent, bits) for exponent in range(24)]
            assert float(calibrated(spec, x)["scale"]) == 2.0 ** int(np.argmin(errors))


def test_mse_cuts_an_outlier_that_no_neighbour_of_the_range_could():
    x = np.where(np.arange(200_000) == 5, np.float32(60), np.float32(0.01) * np.asarray(random_array(1, 200_000)))
    near = float(calibrated(spec_of("abs_max", calibrate_exponent=CalibrateExponent.nearest), x)["scale"])
    best = float(calibrated(spec_of("mse", bits=4), x)["scale"])
    assert near == 2
    assert best == 2.0 ** int(np.argmin([error(x, exponent, 4) for exponent in range(24)]))


@pytest.mark.parametrize("percent", [50.0, 99.0, 99.9, 100.0])
def test_percentile_covers_what_it_says(percent):
    spec = spec_of("percentile", calibrate_percentile=percent, calibrate_exponent=CalibrateExponent.nearest)
    for magnitude in (1e-3, 1.0, 5000.0):
        for x in samples(magnitude):
            exact = np.sort(np.abs(x))[int(np.ceil(percent / 100 * SIZE - 1e-9)) - 1]
            found = float(calibrated(spec, x)["running_data"])
            assert exact <= found <= exact * (1 + 1 / 256)
            assert found <= np.abs(x).max()


def test_percentile_of_mostly_zeros_is_the_floor():
    x = np.where(np.arange(SIZE) < 3, np.float32(2), np.float32(0))
    spec = spec_of("percentile", calibrate_percentile=99.0, calibrate_exponent=CalibrateExponent.nearest)
    assert calibrated(spec, x)["running_data"] == np.float32(1e-6)


def divergence(x, power, halvings, bits):
    """The entropy of TensorRT's search, of 512 bins of [0, power)."""
    size, steps = 512 >> halvings, 2 ** (bits - 1)
    counts, _ = np.histogram(np.minimum(np.abs(x[x != 0]), power * (1 - 1e-9)), 512, (0, power))
    inside = counts[:size].astype(np.float64)
    groups = inside.reshape(steps, -1)
    each = groups.sum(1) / np.maximum((groups > 0).sum(1), 1)
    spread = np.where(groups > 0, each[:, None], 0).ravel()
    inside[-1] += counts[size:].sum()
    p, q = inside / inside.sum(), np.maximum(spread / spread.sum(), 2.0**-20)
    return sum(a * np.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


@pytest.mark.parametrize(("bits", "halvings"), [(8, 3), (6, 5), (4, 7)])
def test_kl_is_the_power_of_two_with_the_least_entropy(bits, halvings):
    for magnitude in (0.02, 1.0, 40.0):
        for x in samples(magnitude):
            power = 2.0 ** np.ceil(np.log2(np.abs(x).max()))
            best = int(np.argmin([divergence(x, power, i, bits) for i in range(halvings)]))
            state = calibrated(spec_of("kl", bits=bits), x)
            assert float(state["running_data"]) == power / 2**best


def test_kl_of_more_steps_than_bins_covers_all():
    for x in samples(1.0):
        assert float(calibrated(spec_of("kl", bits=12), x)["running_data"]) == 2.0 ** np.ceil(np.log2(np.abs(x).max()))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("exponent", CalibrateExponent)
def test_the_split_into_batches_decides_nothing(name, exponent):
    for qat_method in QatMethod:
        spec = spec_of(name, qat_method=qat_method, calibrate_exponent=exponent, calibrate_percentile=98.0)
        for x in samples(1.9):
            whole = calibrated(spec, x)
            for parts in (2, 5, 60):
                for order in (1, -1):
                    split = calibrated(spec, *np.split(x, parts)[::order])
                    for entry in initial_state(spec):
                        np.testing.assert_array_equal(split[entry], whole[entry])


@pytest.mark.parametrize("qat_method", QatMethod)
@pytest.mark.parametrize("name", METHODS)
def test_the_next_training_step_keeps_the_exponent(name, qat_method):
    spec = spec_of(name, qat_method=qat_method, calibrate_exponent=CalibrateExponent.least_error)
    for magnitude in (1e-3, 1.0, 1e4):
        for x in samples(magnitude)[: 2 if qat_method is QatMethod.MOM else 3]:  # an average follows a far outlier
            state = calibrated(spec, x)
            own = {entry: state[entry] for entry in initial_state(spec)}
            assert quantize(spec, x, own, training=True)[1]["scale"] == state["scale"]


@pytest.mark.parametrize("name", METHODS)
def test_zeros_leave_the_floor(name):
    """So that training replaces it (docs/decisions.md D28)."""
    state = calibrated(spec_of(name), np.zeros(SIZE, np.float32))
    assert (state["scale"], state["running_data"]) == (2.0**23, np.float32(1e-6))


def test_a_weight_counts_once_for_top_10_however_many_batches_there_are():
    x = np.asarray(normal(SIZE))
    spec = spec_of("top_10", kind=QuantizerKind.weight, calibrate_exponent=CalibrateExponent.nearest)
    assert calibrated(spec, x, x, x)["running_data"] == np.sort(np.abs(x))[-10]


@pytest.mark.parametrize("name", ["mse", "percentile", "kl"])
def test_a_method_can_be_called_with_one_tensor(name):
    x = np.asarray(normal(SIZE))
    found = calibrate_method(name)(spec_of("abs_max"), x, 8)
    assert calibrated(spec_of(name, calibrate_exponent=CalibrateExponent.nearest), x)["running_data"] == found.statistic
