"""Whole models of tests/zoo, exported as they are calibrated, agree with evaluation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linger_jax
from tests.zoo.test_models import SPECIMENS

ROWS = 4


@pytest.mark.slow
@pytest.mark.parametrize(("name", "platform"), [("transformer encoder", "venusA")])  # others: tests/zoo/test_device.py
@pytest.mark.filterwarnings("ignore:_linger_qtensor_qmul_0 at .* counts as:linger_jax.LingerWarning")
def test_file_of_a_whole_model_agrees(tmp_path, name, platform):
    specimen = SPECIMENS[name]
    x = jnp.asarray(specimen.batch()[0][:ROWS])
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        qmodel = linger_jax.init(specimen.model, {"platform": platform})
        rngs = {name: jax.random.key(i, impl="rbg") for i, name in enumerate(("params", "dropout"))}
        floats = jax.jit(lambda: specimen.model.init(rngs, x, train=True))()
        variables = qmodel.adopt(floats, x, train=False)
        variables = linger_jax.calibrate(qmodel, variables, [(x,)], progress=False, train=False)
        path = linger_jax.export_onnx(qmodel, variables, x[:1], tmp_path / "model.onnx", dialect="linger", train=False)
        expected = np.asarray(jax.jit(lambda v: qmodel.apply(v, x, train=False))(variables))
    runner = linger_jax.OnnxRunner(path)
    array = np.moveaxis(np.asarray(x), -1, 1) if x.ndim > 3 else np.asarray(x)
    (results,) = runner.run(array)
    np.testing.assert_array_equal(results, expected)
    assert np.unique(results).size > 3
