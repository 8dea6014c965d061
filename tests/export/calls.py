"""Models of one function, and their files beside their evaluation."""

from __future__ import annotations

import jax
import numpy as np

import linger_jax
from tests.models import CALIBRATED_QUICKLY, Calls, initialised


def trained(function, *inputs, platform="arcs", **config):
    """A calibrated model of one function of its inputs."""
    config = {**config, "quant_info": {**CALIBRATED_QUICKLY, **config.get("quant_info", {})}}
    qmodel = linger_jax.init(Calls(function), {"platform": platform, **config})
    variables = initialised(qmodel, *inputs)
    return qmodel, linger_jax.calibrate(qmodel, variables, [inputs], progress=False)


def to_file(array, *, image):
    """Images channels-first, as a file takes and returns them."""
    array = np.asarray(array)
    return np.moveaxis(array, -1, 1) if image and array.ndim > 2 else array


def assert_computes_as_evaluated(path, qmodel, variables, inputs, *, image):
    """A file, run in integers on a batch, gives what evaluation gives, to the bit."""
    runner = linger_jax.OnnxRunner(path)
    given = {entry.name: to_file(x, image=image) for entry, x in zip(runner.inputs, inputs, strict=True)}
    expected = jax.tree.leaves(qmodel.apply(variables, *inputs))
    for got, wanted in zip(runner.run(given), expected, strict=True):
        np.testing.assert_array_equal(got, to_file(wanted, image=image))
        assert np.unique(got).size > 3  # not all zero or saturated
