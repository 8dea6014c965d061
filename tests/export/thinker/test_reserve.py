"""The output that makes the packer plan scratch memory: who needs it, and that nobody else sees it."""

import flax.linen as nn
import numpy as np
import onnx
import pytest

import linger_jax
from linger_jax.errors import ExportError
from tests.export.thinker.files import exported, operators
from tests.models import normal


def attention(x):
    x = nn.Dense(8)(x)
    scores = nn.softmax(nn.Dense(8)(x) @ nn.Dense(8)(x).transpose(0, 2, 1))
    return scores @ nn.Dense(8)(x) + x


def recurrent(x):
    return nn.Dense(3)(nn.RNN(nn.OptimizedLSTMCell(6))(x))


@pytest.mark.parametrize(
    ("function", "platform", "shape"),
    [
        (attention, "venusA", [1, 454]),
        (attention, "arcs", None),
        (recurrent, "venusA", [1, 48]),
        (recurrent, "arcs", None),
    ],
)
@pytest.mark.packer
def test_memory_is_reserved_where_the_packer_plans_too_little(tmp_path, tpacker, function, platform, shape):
    path = exported(tmp_path, function, normal(3, 12, 8), image=False, platform=platform)
    model = onnx.load(path)
    runner = linger_jax.OnnxRunner(path)
    assert runner.outputs == ("y",)
    assert [tuple(result.shape) for result in runner.run(normal(1, 12, 8))] == [
        (1, 12, 8 if function is attention else 3)
    ]
    assert [output.name for output in model.graph.output] == ["y", *(["reserved_memory"] if shape else [])]
    assert ("GluInt" in operators(path)) == bool(shape)
    assert [list(c.dims) for c in model.graph.initializer if c.name == "reserving"] == ([shape] if shape else [])
    report = linger_jax.pack(path, tmp_path / "model.pkg", packer=tpacker)
    assert report.package_bytes


def test_what_only_reserves_memory_is_no_tensor_of_the_model(tmp_path):
    path = exported(tmp_path, attention, normal(3, 12, 8), image=False, platform="venusA")
    runner = linger_jax.OnnxRunner(path)
    with pytest.raises(ExportError, match="no tensor 'reserved_memory'"):
        runner.run(normal(1, 12, 8), special_key="reserved_memory")
    runner.run(np.asarray(normal(1, 12, 8)), dump=True, dump_dir=tmp_path / "dump")
    assert not [file for file in (tmp_path / "dump").iterdir() if "reserved" in file.name]


def test_a_file_may_not_read_what_only_reserves_memory(tmp_path):
    path = exported(tmp_path, attention, normal(3, 12, 8), image=False, platform="venusA")
    model = onnx.load(path)
    reserving = next(node for node in model.graph.node if node.output[0] == "reserved_memory")
    model.graph.node.append(onnx.helper.make_node("Relu", [reserving.output[0]], ["late"], "Relu_late"))
    onnx.save(model, path)
    with pytest.raises(ExportError, match="reserved_memory only reserves memory, and is read"):
        linger_jax.OnnxRunner(path)
