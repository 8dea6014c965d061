"""What a plan says of the chip is what strict export does, for models drawn at random (docs/decisions.md D33)."""

import warnings

import jax
import numpy as np
import pytest

import linger_jax
from linger_jax.errors import ExportError, LingerError
from linger_jax.targets import Platform
from tests.equality.device.drawing import draw_for_device
from tests.equality.judging import made

CHIPS = (Platform.arcs, Platform.venusA, Platform.venus)
COUNT = 18


@pytest.mark.slow
def test_the_verdict_of_a_plan_is_the_outcome_of_strict_export(tmp_path):
    outcomes = set()
    for index in range(COUNT):
        chip = CHIPS[index % len(CHIPS)]
        with (
            warnings.catch_warnings(),
            jax.numpy_dtype_promotion("standard"),
            jax.numpy_rank_promotion("allow"),
        ):
            warnings.simplefilter("ignore")
            try:
                names = made(draw_for_device(1, index, None, chip))
            except LingerError:  # nothing to plan
                continue
            qmodel, variables, inputs = names["qmodel"], names["variables"], names["inputs"]
            said = ""
            try:
                linger_jax.export_onnx(qmodel, variables, tuple(np.asarray(x)[:1] for x in inputs), tmp_path / "m.onnx")
            except ExportError as error:
                said = str(error)
            verdict = qmodel.plan(variables, *inputs).device
        assert verdict.runs == (not said), (index, said, list(verdict.lines()), [str(row) for row in verdict.rows])
        outcomes.add(verdict.runs)
    assert outcomes == {True, False}
