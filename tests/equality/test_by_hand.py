"""The second reading of the specification, on numbers that were worked out on paper."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.equality.by_hand import HasNoSecondReadingError, evaluate, moved, requantized, wide

SUMS = wide(np.array([-6, -5, -2, -1, 1, 2, 3, 5, 6]))


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [
        ("floor_add", [-1, -1, 0, 0, 0, 1, 1, 1, 2]),
        ("floor", [-2, -2, -1, -1, 0, 0, 0, 1, 1]),
        ("round", [-2, -1, 0, 0, 0, 0, 1, 1, 2]),
    ],
)
def test_a_quarter_is_rounded_by_its_mode(mode, wanted):
    assert moved(SUMS, 2, mode).tolist() == wanted


def test_a_result_is_cut_to_its_width_and_above_24_bits_to_what_float32_holds():
    large = wide(np.array([2**24 + 1, 2**31 - 1, 2**31]))
    assert requantized(large, 1.0, 1.0, 8, "floor_add").tolist() == [127] * 3
    assert requantized(large, 1.0, 1.0, 32, "floor_add").tolist() == [2**24, 2**31 - 1, 2**31 - 1]
    assert requantized(large, 1.0, 2.0**40, 16, "floor_add").tolist() == [32767] * 3


def write(path, *nodes, shape):
    entries = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y"))
    graph = helper.make_graph(nodes, "graph", [next(entries)], [next(entries)])
    opsets = [helper.make_opsetid("", 12), helper.make_opsetid("linger", 1)]
    path.write_bytes(helper.make_model(graph, opset_imports=opsets).SerializeToString())
    return path


def test_nodes_of_a_file_are_evaluated_in_order(tmp_path):
    quant = helper.make_node("Quant", ["x"], ["0"], domain="linger", scale_x=4.0, data_bits=8)
    scales = {"scale_x": 4.0, "scale_y": 4.0, "scale_o": 2.0, "o_bits": 8, "quant_mode": "floor_add"}
    add = helper.make_node("QAdd", ["0", "0"], ["1"], domain="linger", **scales)
    squeeze = helper.make_node("Squeeze", ["1"], ["2"], domain="linger", axes=[0])
    dequant = helper.make_node("Dequant", ["2"], ["y"], domain="linger", scale_o=2.0)
    path = write(tmp_path / "m.onnx", quant, add, squeeze, dequant, shape=[1, 3])
    (y,) = evaluate(path, [np.array([[0.2, -0.3, 900.0]], np.float32)])
    assert y.tolist() == [1.0, 0.0, 63.5]  # 1, -1 and 127 steps of 1/4: 1, 0 and 64 of 1/2, and twice as many are cut


def test_a_function_of_the_chip_has_no_second_reading(tmp_path):
    node = helper.make_node("QSoftmax", ["x"], ["y"], domain="linger", scale_x=4.0, scale_o=2.0)
    with pytest.raises(HasNoSecondReadingError, match="QSoftmax"):
        evaluate(write(tmp_path / "m.onnx", node, shape=[3]), [np.zeros(3, np.float32)])
