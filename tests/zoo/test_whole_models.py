"""Models written as their users write them: quantized whole, trained, compiled once, and taken to a chip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import linger_jax
from tests.zoo.specimens import SPECIMENS, OnChip
from tests.zoo.training import Outcome, outcome

INPUTS, DISTINCT = 512, 100
"""Random inputs, and how many values an output has to take on them: it is neither constant nor saturated."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:_linger_qtensor_qmul_0 at .* counts as:linger_jax.LingerWarning"),
]


@pytest.fixture(autouse=True)
def _casts_of_the_models():
    """These models rely on the implicit casts and broadcasts of jax.numpy, as most do."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def with_fate(*fates: OnChip) -> pytest.MarkDecorator:
    """Runs a test on the networks with one of these fates."""
    return pytest.mark.parametrize("name", [name for name, specimen in SPECIMENS.items() if specimen.on_chip in fates])


@pytest.mark.parametrize("name", SPECIMENS)
def test_model_is_quantized_whole_and_learns(name):
    specimen, found = SPECIMENS[name], outcome(name)
    macs = found.plan.multiply_accumulates
    print(f"{name}: {macs}; loss {found.losses[0]:.3f} -> {found.losses[-1]:.3f}")
    assert macs.share >= 0.99
    assert tuple(row.op for row in found.plan.float_rows) == specimen.floats
    assert found.traces == 1
    assert sum(found.losses[-3:]) / 3 < 0.8 * found.losses[0]
    assert found.after < found.before
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(found.variables))


def moved(found: Outcome) -> Any:
    """The variables with parameters a little away from where training left them: outputs take more values."""
    random = np.random.default_rng(0)
    params = jax.tree.map(lambda a: a + random.normal(0, 0.1, a.shape).astype(np.float32), found.variables["params"])
    return {**found.variables, "params": params}


def exported(found: Outcome, path: Path, **options: Any) -> None:
    """Writes a file and asserts that it gives, of random inputs, what evaluation gives, to the bit."""
    variables = moved(found)
    linger_jax.export_onnx(found.qmodel, variables, found.inputs[:1], path, train=False, **options)
    random = np.random.default_rng(1).normal(0, 1, (INPUTS, *found.inputs.shape[1:])).astype(np.float32)
    batches = [found.evaluate(variables, x) for x in np.split(random, INPUTS // len(found.inputs))]
    expected = jax.tree.map(lambda *parts: np.concatenate(parts), *batches)
    runner = linger_jax.OnnxRunner(path)
    given = random if random.shape[1:] == tuple(runner.inputs[0].shape)[1:] else np.moveaxis(random, -1, 1)
    for got, wanted in zip(runner.run(given), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(got, wanted)
        assert np.unique(got).size > DISTINCT


@pytest.mark.packer
@with_fate(OnChip.packed)
def test_a_supported_model_packs_and_its_file_computes_what_evaluation_computes(name, request, tmp_path):
    path = tmp_path / "model.onnx"
    exported(outcome(name), path)
    packer = request.getfixturevalue("tpacker")
    report = linger_jax.pack(path, tmp_path / "model.pkg", packer=packer)
    assert all(0 < use.used <= use.available for use in report.memory)


@with_fate(OnChip.written)
def test_a_file_as_linger_writes_it_computes_what_evaluation_computes(name, tmp_path):
    exported(outcome(name), tmp_path / "model.onnx", dialect="linger")
