"""Loading files, inputs, batches, named tensors and dumps."""

import numpy as np
import onnx
import pytest

from linger_jax.errors import ExportError, FileError
from linger_jax.export.runner import OnnxRunner, write_dump
from tests.export.runner.onnx_models import ACT, dequant, node, quant, write

RNG = np.random.default_rng(3)
LINEAR = {**ACT, "w_bits": 8, "scale_x": 32.0, "scale_w": 128.0, "scale_o": 16.0}


@pytest.fixture
def mlp(tmp_path):
    """x [1, 4] -> Linear -> Reshape to [1, 3, 2] -> Relu -> z, with the shape of one sample in the reshape."""
    nodes = [
        quant("x", "0", 32.0),
        node("linger.QLinear", ["0", "w"], ["1"], **LINEAR),
        node("Reshape", ["1", "shape"], ["2"]),
        node("Relu", ["2"], ["3"]),
        dequant("3", "z", 16.0),
    ]
    weights = {"w": RNG.integers(-128, 127, (6, 4)).astype(np.int8), "shape": np.array([1, 3, 2])}
    return write(tmp_path / "mlp.onnx", nodes, {"x": [1, 4]}, ["z"], weights)


def samples(count):
    return RNG.normal(size=(count, 4)).astype(np.float32)


def test_a_batch_gives_what_its_samples_give(mlp):
    runner, x = OnnxRunner(mlp), samples(5)
    (batch,) = runner.run(x)
    assert batch.shape == (5, 3, 2)
    np.testing.assert_array_equal(batch, np.concatenate([runner.run(row[None])[0] for row in x]))
    assert np.any(batch > 0)


def test_a_batch_on_another_axis(tmp_path):
    nodes = [quant("x", "0", 32.0), node("linger.QLinear", ["0", "w"], ["1"], **LINEAR), dequant("1", "y", 16.0)]
    weights = {"w": RNG.integers(-128, 127, (3, 4)).astype(np.int8)}
    runner = OnnxRunner(write(tmp_path / "m.onnx", nodes, {"x": [7, 1, 4]}, ["y"], weights))
    x = RNG.normal(size=(7, 2, 4)).astype(np.float32)
    (both,) = runner.run(x, batch_axis=1)
    np.testing.assert_array_equal(both, np.concatenate([runner.run(x[:, i : i + 1])[0] for i in range(2)], axis=1))


def test_results_by_name_and_intermediate_tensors(mlp):
    runner, x = OnnxRunner(mlp), samples(1)
    results = runner.run({"x": x}, out_type="dict")
    assert set(results) == {"z"}
    first, last = runner.run([x], special_key=["1", "z"])
    np.testing.assert_array_equal(np.maximum(first, 0).reshape(1, 3, 2), last)
    assert last.dtype == np.float32


def test_quantized_values_have_scale_and_bits(mlp):
    value = OnnxRunner(mlp).run_quantized(samples(1), ["1"])["1"]
    assert (value.scale, value.bits, value.value.dtype) == (16.0, 8, np.int32)


@pytest.mark.parametrize(
    ("dump_format", "suffixes"),
    [("quantized", {"quantized"}), ("float", {"float"}), ("all", {"quantized", "float"})],
)
def test_a_dump_holds_every_tensor(mlp, tmp_path, dump_format, suffixes):
    runner, x = OnnxRunner(mlp), samples(1)
    runner.run(x, dump=True, dump_dir=tmp_path / "dump", dump_format=dump_format)
    files = sorted(p.name for p in (tmp_path / "dump").iterdir())
    assert {f.split(".")[1] for f in files if not f.startswith("0004")} == suffixes
    assert "0004_z.float.npy" in files  # the output is a float in every format
    if "quantized" in suffixes:
        stored = np.load(tmp_path / "dump" / "0001_1.quantized.npy")
        np.testing.assert_array_equal(stored, runner.run_quantized(x, ["1"])["1"].value)


def test_a_dump_that_cannot_be_written_is_one_error(mlp, tmp_path):
    (tmp_path / "file").write_text("old")
    with pytest.raises(FileError, match=r"Not a directory\); what should be a folder is a file"):
        OnnxRunner(mlp).run(samples(1), dump=True, dump_dir=tmp_path / "file" / "dump")
    assert (tmp_path / "file").read_text() == "old"


def test_a_tensor_of_any_name_can_be_dumped(tmp_path):
    first, second = write_dump({"a" * 400: np.ones(2), "b" * 400 + "/é": np.zeros(2)}, tmp_path, "float")
    assert (np.load(first).sum(), np.load(second).sum()) == (2, 0)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (np.zeros((1, 5), np.float32), r"input x has shape \(1, 5\); the file declares \(1, 4\)"),
        (np.zeros((4,), np.float32), r"the file declares \(1, 4\)"),
        (np.zeros((1, 4), np.complex64), "takes real numbers"),
        ({"y": np.zeros((1, 4), np.float32)}, r"missing \['x'\], unknown \['y'\]"),
        ([np.zeros((1, 4), np.float32)] * 2, r"takes 1 input\(s\) \['x'\], 2 were given"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(mlp, inputs, message):
    with pytest.raises(ExportError, match=message):
        OnnxRunner(mlp).run(inputs)


def test_unknown_names_and_options_are_refused(mlp):
    runner, x = OnnxRunner(mlp), samples(1)
    with pytest.raises(ExportError, match="no tensor 'nothing'; it has"):
        runner.run(x, special_key="nothing")
    with pytest.raises(ExportError, match="'list', 'dict'"):
        runner.run(x, out_type="tuple")
    with pytest.raises(ExportError, match="float, quantized, all"):
        runner.run(x, dump=True, dump_format="text")


def test_an_unknown_operator_is_named_when_the_file_is_loaded(tmp_path):
    path = write(tmp_path / "m.onnx", [node("Erf", ["x"], ["y"])], {"x": [1]}, ["y"])
    with pytest.raises(ExportError, match=r"no integer rule for Erf_y \(Erf\).*linger::QConv2d"):
        OnnxRunner(path)


@pytest.mark.parametrize("content", [b"", b"not a model", bytes(range(256)) * 9])
def test_a_damaged_file_is_refused(tmp_path, content):
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ExportError, match=r"m\.onnx"):
        OnnxRunner(tmp_path / "m.onnx")


def test_a_truncated_file_is_refused(mlp):
    mlp.write_bytes(mlp.read_bytes()[:-40])
    with pytest.raises(ExportError, match=r"mlp\.onnx"):
        OnnxRunner(mlp)


def test_a_missing_file_and_a_symbolic_shape_are_refused(tmp_path):
    with pytest.raises(ExportError, match="no such file"):
        OnnxRunner(tmp_path / "absent.onnx")
    path = write(tmp_path / "m.onnx", [quant("x", "y", 1.0)], {"x": ["batch", 4]}, ["y"])
    with pytest.raises(ExportError, match="axis 0 of x is symbolic"):
        OnnxRunner(path)


def test_weights_outside_the_file_are_refused_unread(mlp, tmp_path):
    model = onnx.load(mlp)
    onnx.save(model, tmp_path / "out.onnx", save_as_external_data=True, size_threshold=0, location="weights.bin")
    with pytest.raises(ExportError, match="lies outside the file"):
        OnnxRunner(tmp_path / "out.onnx")


def test_a_dangling_input_is_refused(tmp_path):
    path = write(tmp_path / "m.onnx", [quant("nowhere", "y", 1.0)], {"x": [1]}, ["y"])
    with pytest.raises(ExportError, match="reads nowhere, which nothing before it makes"):
        OnnxRunner(path)
