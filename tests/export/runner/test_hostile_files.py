"""ONNX files that parse and say the impossible: refused by name and node, unread, in bounded memory."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import linger_jax
from linger_jax.errors import ExportError
from linger_jax.export.runner import OnnxRunner
from tests.export.runner.onnx_models import dequant, node, quant, write

READERS = (OnnxRunner, linger_jax.check_onnx)


def edited(tmp_path, change, *nodes):
    nodes = nodes or (quant("x", "q", 8.0), dequant("q", "y", 8.0))
    path = write(tmp_path / "m.onnx", nodes, {"x": [1, 4]}, [nodes[-1].output[0]], {"w": np.ones((2, 4), np.int8)})
    model = onnx.load(path)
    change(model.graph)
    path.write_bytes(model.SerializeToString())
    return path


def attribute(name, value):
    def change(graph):
        kept = [a for a in graph.node[0].attribute if a.name != name]
        del graph.node[0].attribute[:]
        graph.node[0].attribute.extend([*kept, helper.make_attribute(name, value)])

    return change


def refusal(path, reader):
    with pytest.raises(ExportError) as caught:
        reader(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("bits", [2**31 - 1, 0, -1, 33, "eight", [8], 8.0])
def test_a_width_that_no_integer_has_is_refused(tmp_path, reader, bits):
    text = refusal(edited(tmp_path, attribute("data_bits", bits)), reader)
    assert "node Quant_q (Quant): data_bits" in text
    assert "a width is 1 to 32 bits" in text


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("scale", [0.0, -8.0, float("nan"), float("inf"), "eight", [8.0]])
def test_a_scale_that_is_no_positive_number_is_refused(tmp_path, reader, scale):
    text = refusal(edited(tmp_path, attribute("scale_x", scale)), reader)
    assert "node Quant_q (Quant): scale_x" in text
    assert "a scale is a positive number" in text


@pytest.mark.parametrize("reader", READERS)
def test_numbers_of_an_attribute_outside_the_file_are_refused_unread(tmp_path, reader):
    tensor = TensorProto(name="t", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../../secret.bin")
    text = refusal(edited(tmp_path, attribute("value", tensor)), reader)
    assert "node Quant_q (Quant): value" in text
    assert "lies outside the file" in text


def set_output(graph):
    graph.node[1].output[0] = "q"


def empty_axis(graph):
    graph.input[0].type.tensor_type.shape.dim[1].dim_value = -4


def large_constant(graph):
    graph.initializer[0].dims[0] = 2**40


def long_name(graph):
    graph.node[0].name = "n" * 2000


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_output, "makes q, which is there already"),
        (empty_axis, "axis 1 of x has -4 entries"),
        (large_constant, "w: is a constant that cannot be read"),
        (long_name, "holds a name of 2,000 characters"),
        (attribute("platform", b"\xff"), "platform: cannot be read"),
    ],
)
def test_graphs_that_say_the_impossible_are_refused(tmp_path, reader, change, message):
    assert message in refusal(edited(tmp_path, change), reader)


@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_is_refused(tmp_path, reader):
    assert "is a folder" in refusal(tmp_path, reader)


@pytest.mark.parametrize("name", ["kernel_shape", "pads"])
def test_an_average_over_absurd_windows_is_refused_before_it_is_computed(tmp_path, name):
    given = {
        "kernel_shape": [2, 2],
        "strides": [2, 2],
        "pads": [0, 0, 0, 0],
        name: [2**30] * (4 if name == "pads" else 2),
    }
    pool = node(
        "linger.QAvgPool2d", ["q"], ["p"], scale_x=8.0, scale_o=8.0, x_bits=8, o_bits=8, platform="arcs", **given
    )
    path = tmp_path / "m.onnx"
    write(path, [quant("x", "q", 8.0), pool, dequant("p", "y", 8.0)], {"x": [1, 1, 4, 4]}, ["y"])
    with pytest.raises(ExportError, match=r"m\.onnx: node QAvgPool2d_p") as caught:
        OnnxRunner(path).run(np.ones((1, 1, 4, 4), np.float32))
    assert len(str(caught.value)) < 1000


def test_a_result_beyond_any_memory_is_refused_before_it_is_computed(tmp_path):
    path = tmp_path / "m.onnx"
    shape = np.array([1 << 20, 1 << 20], np.int64)
    write(path, [node("Expand", ["x", "shape"], ["y"])], {"x": [1, 1]}, ["y"], {"shape": shape})
    with pytest.raises(ExportError, match=r"makes 1,099,511,627,776 numbers of one sample; at most 67,108,864"):
        OnnxRunner(path).run(np.ones((1, 1), np.float32))


def test_nan_among_the_inputs_is_refused_with_its_position(tmp_path):
    runner = OnnxRunner(edited(tmp_path, lambda graph: None))
    x = np.ones((3, 4), np.float32)
    x[1, 2] = x[2, 0] = np.nan
    with pytest.raises(ExportError, match=r"input x is NaN at \[1, 2\], and 1 more; integers have no such value"):
        runner.run(x)


def test_infinities_and_numbers_beyond_float32_saturate(tmp_path):
    runner = OnnxRunner(edited(tmp_path, lambda graph: None))
    (y,) = runner.run(np.array([[np.inf, -np.inf, 1e300, -1e300]]))
    np.testing.assert_array_equal(y, np.float32([[127, -128, 127, -128]]) / 8)
