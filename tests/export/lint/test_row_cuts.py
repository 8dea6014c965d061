"""Inputs that the executor cuts by rows: which cuts are right (measured on the simulator of the executor)."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import linger_jax


def found(platform, channels, plane, kernel, stride, pads):
    """What the check says of a file of one convolution."""
    common = {"domain": "linger", "platform": platform}
    rows = [(plane[0] + pads[0] + pads[1] - kernel) // stride + 1, (plane[1] - kernel) // stride + 1]
    nodes = [
        helper.make_node("Quant", ["x"], ["0"], "Quant_0", scale_x=16.0, data_bits=8, **common),
        helper.make_node(
            "QConv2d", ["0", "w"], ["y"], "QConv2d_y", x_bits=8, w_bits=8, o_bits=8, scale_x=16.0, scale_w=64.0,
            scale_o=8.0, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pads[0], 0, pads[1], 0],
            dilations=[1, 1], group=1, quant_mode="floor_add", **common,
        ),
    ]  # fmt: skip
    weight = numpy_helper.from_array(np.zeros((4, channels, kernel, kernel), np.int8), "w")
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, *plane])
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, *rows])
    graph = helper.make_graph(nodes, "main_graph", [given], [made], [weight])
    opsets = [helper.make_opsetid("", 12), helper.make_opsetid("linger", 1)]
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=7)
    return [finding for finding in linger_jax.check_onnx(model).findings if finding.check == "rows"]


@pytest.mark.parametrize("platform", ["arcs", "venusA"])
@pytest.mark.parametrize(
    ("channels", "plane", "kernel", "stride", "pads"),
    [(3, (224, 224), 3, 2, (1, 1)), (8, (64, 64), 3, 1, (1, 1)), (8, (8, 8), 3, 2, (0, 0))],
)
def test_inputs_in_parts_that_fit_are_right(platform, channels, plane, kernel, stride, pads):
    assert found(platform, channels, plane, kernel, stride, pads) == []


def test_a_row_that_no_window_reads_has_to_be_cut_off():
    (finding,) = found("arcs", 1, (95, 104), 3, 2, (1, 0))
    assert "no window reaches" in finding.remedy
    assert finding.blocks


def test_results_that_come_in_no_parts_are_refused():
    # 67 results come as a whole or one by one, and then the padding is in two parts.
    (finding,) = found("arcs", 8, (67, 110), 5, 1, (2, 2))
    assert "parts" in finding.limit
    assert found("venusA", 8, (67, 110), 5, 1, (2, 2)) == []
    assert found("venus", 8, (67, 110), 5, 1, (2, 2)) == []
