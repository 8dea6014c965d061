"""Models of the zoo on the way to a chip: exported, run in integers as evaluation computes, packed; or refused."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

import linger_jax
from linger_jax.errors import DeviceLintError
from tests.zoo.test_models import SPECIMENS

INPUTS = 100

SUPPORTED = (("MobileNet", "venusA"), ("bidirectional LSTM", "arcs"), ("variational autoencoder", "arcs"))


@dataclasses.dataclass(frozen=True)
class Calibrated:
    """A model with the state of a calibration, and what it was calibrated on."""

    qmodel: linger_jax.QuantizedModel
    variables: Any
    inputs: np.ndarray


def calibrated(name: str, platform: str) -> Calibrated:
    """Parameters away from their first values: biases and the scales of normalization start as zero and one."""
    specimen = SPECIMENS[name]
    inputs, _ = specimen.batch()
    keys = {stream: jax.random.key(i, impl="rbg") for i, stream in enumerate(("params", "latent"))}
    floats = dict(jax.jit(lambda: specimen.model.init(keys, inputs, train=False))())
    random = np.random.default_rng(0)
    floats["params"] = jax.tree.map(
        lambda leaf: leaf + random.normal(0, 0.1, leaf.shape).astype(np.float32), floats["params"]
    )
    qmodel = linger_jax.init(specimen.model, {"platform": platform})
    variables = qmodel.adopt(floats, inputs, train=False)
    variables = linger_jax.calibrate(qmodel, variables, [(inputs,)], progress=False, train=False)
    return Calibrated(qmodel, variables, inputs)


@pytest.fixture(autouse=True)
def _casts_of_the_models():
    """These models rely on the implicit casts and broadcasts of jax.numpy, as most do."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.slow
@pytest.mark.packer
@pytest.mark.filterwarnings("ignore:_linger_qtensor_qmul_0 at .* counts as:linger_jax.LingerWarning")
@pytest.mark.parametrize(("name", "platform"), SUPPORTED)
def test_a_supported_model_packs_and_its_file_computes_what_evaluation_computes(name, platform, request, tmp_path):
    model = calibrated(name, platform)
    path = tmp_path / "model.onnx"
    linger_jax.export_onnx(model.qmodel, model.variables, model.inputs[:1], path, train=False)
    random = np.random.default_rng(1).normal(0, 1, (INPUTS, *model.inputs.shape[1:])).astype(np.float32)
    expected = jax.tree.leaves(model.qmodel.apply(model.variables, random, train=False))
    given = np.moveaxis(random, -1, 1) if random.ndim == 4 else random
    for got, wanted in zip(linger_jax.OnnxRunner(path).run(given), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)
        assert np.unique(got).size > INPUTS
    packer = request.getfixturevalue("tpacker")
    report = linger_jax.pack(path, tmp_path / "model.pkg", packer=packer)
    assert all(0 < use.used <= use.available for use in report.memory)


@pytest.mark.slow
def test_a_model_that_the_chip_computes_otherwise_is_refused_by_name(tmp_path):
    model = calibrated("GRU keyword spotter", "venusA")
    with pytest.raises(DeviceLintError, match="Use an LSTM") as error:
        linger_jax.export_onnx(model.qmodel, model.variables, model.inputs[:1], tmp_path / "m.onnx", train=False)
    assert "RNN_0" in {finding.layer for finding in error.value.report.blocking}
    assert not list(tmp_path.iterdir())
