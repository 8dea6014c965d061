"""A graph read without a file is the graph that is read from its file."""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

import linger_jax
from linger_jax.export.dialects import DIALECTS, Destination
from linger_jax.export.lower import export_graph
from linger_jax.export.onnx import as_file, read_model, to_model
from tests.models import Calls, ResidualCnn, initialised, normal


def functions(x):
    x = nn.Dense(8)(x)
    return nn.softmax(nn.sigmoid(x) + nn.tanh(x), -1), nn.relu6(x)


def sequence(x):
    return nn.RNN(nn.OptimizedLSTMCell(4))(jnp.pad(x, ((0, 0), (1, 0), (0, 0))))


def rows(x):
    """The packer plans too little memory for a LayerNorm: the file reserves more."""
    return nn.LayerNorm(epsilon=1e-5)(nn.Dense(8)(x))


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (ResidualCnn(blocks=1), (1, 8, 8, 4)),
        (Calls(functions), (1, 6, 8)),
        (Calls(sequence), (1, 6, 8)),
        (Calls(rows), (1, 6, 8)),
    ],
    ids=["images", "functions", "sequence", "rows"],
)
def test_a_graph_as_a_file_is_its_file(model, shape, dialect):
    x = normal(*shape)
    qmodel = linger_jax.init(model, {"platform": "arcs"})
    record = qmodel.record(initialised(qmodel, x), x)
    graph, config = export_graph(record, ["x"], None), record.plan.settings.config
    DIALECTS[dialect].rewrite(graph, Destination(config.platform, 12))
    files = DIALECTS[dialect].files
    read = read_model(to_model(graph, 12, config.compat, files), "the model")
    seen = as_file(graph, config.compat, files)
    assert list(seen.constants) == list(read.constants)
    for name, values in seen.constants.items():
        np.testing.assert_array_equal(values, read.constants[name], strict=True)
    assert list(map(vars, seen.nodes)) == list(map(vars, read.nodes))
    for one, other in zip(seen.nodes, read.nodes, strict=True):
        assert {k: type(v) for k, v in one.attributes.items()} == {k: type(v) for k, v in other.attributes.items()}
    others = [field.name for field in dataclasses.fields(seen) if field.name not in ("constants", "nodes")]
    assert [getattr(seen, name) for name in others] == [getattr(read, name) for name in others]
