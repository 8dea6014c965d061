"""A value taken apart along an axis, in files of both dialects: by ``jnp.unstack`` and by unpacking."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import onnx
import pytest

import linger_jax
from tests.export.calls import to_file, trained
from tests.models import normal


def by_unstack(x):
    query, key, value = jnp.unstack(nn.DenseGeneral((3, 4))(x), axis=1)
    return query * key + value


def by_unpacking(x):
    key, value = nn.DenseGeneral((2, 4))(x).swapaxes(0, 1)
    return key * value


def some_of_the_parts(x):
    parts = jnp.unstack(nn.Dense(6)(x), axis=-1)
    return jnp.stack((parts[4], parts[1]), axis=1)


def of_the_input(x):
    return nn.Dense(3)(jnp.unstack(x.reshape(-1, 3, 2), axis=1)[1])


def rows_of_an_image(x):
    parts = jnp.unstack(nn.Conv(4, (3, 3))(x.reshape(-1, 2, 3, 1)), axis=-2)
    return nn.Conv(3, (2,))(parts[2]).reshape(-1, 6)


@pytest.mark.parametrize("dialect", ["linger", "thinker"])
@pytest.mark.parametrize("function", [by_unstack, by_unpacking, some_of_the_parts, of_the_input, rows_of_an_image])
def test_a_file_computes_the_parts_that_evaluation_has(function, dialect, tmp_path):
    x = normal(8, 6)
    qmodel, variables = trained(function, x)
    assert not qmodel.plan(variables, x).float_rows
    path = tmp_path / "model.onnx"
    linger_jax.export_onnx(qmodel, variables, x[:1], path, dialect=dialect)
    runner = linger_jax.OnnxRunner(path)
    rows = [runner.run(to_file(x[i : i + 1], image=False))[0] for i in range(len(x))]
    wanted = np.asarray(qmodel.apply(variables, x))
    np.testing.assert_array_equal(np.concatenate(rows), wanted)
    assert np.unique(wanted).size > 3
    assert "Unstack" not in {node.op_type for node in onnx.load(path).graph.node}
