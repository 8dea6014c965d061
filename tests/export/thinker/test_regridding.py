"""Operators that the executor computes wrongly on some grids, in others that it computes right: the same integers."""

import numpy as np
import onnx
import pytest

import linger_jax
from linger_jax.config import Compat, Platform
from linger_jax.export.dialects import DIALECTS, Destination
from linger_jax.export.onnx.onnx_graph import GraphInput, OnnxGraph
from linger_jax.export.onnx.onnx_writer import to_model, write_model
from linger_jax.kinds import OPERATOR_OF_NAME

ACT = {"x_bits": 8, "o_bits": 8, "quant_mode": "floor_add"}


class Drawn:
    """A graph of one path, drawn node by node."""

    def __init__(self, platform, shape):
        self.graph, self.platform = OnnxGraph(), platform
        self.graph.inputs.append(GraphInput("x", shape, "float32"))
        self.shape = shape

    def node(self, op, inputs, shape, **attributes):
        extra = {} if op == "Dequant" else {"platform": self.platform.value}
        kind = "float32" if op == "Dequant" else "int8"
        (tensor,) = self.graph.add(
            OPERATOR_OF_NAME[f"linger::{op}"],
            inputs,
            element_types=[kind],
            attributes={**attributes, **extra},
            label=op,
        )
        self.graph.shapes[tensor] = shape
        return tensor

    def quantized(self, scale):
        return self.node("Quant", ["x"], self.shape, scale_x=scale, data_bits=8, zero_point=0)

    def run(self, path, result, scale, shape):
        """The outputs as drawn and rewritten, and the operators of the rewritten file."""
        self.graph.name_output(self.node("Dequant", [result], shape, scale_o=scale), "y")
        self.graph.rename_intermediates()
        x = np.random.default_rng(0).normal(0, 1.5, self.shape).astype(np.float32)
        outputs = []
        for dialect in DIALECTS["linger"], DIALECTS["thinker"]:
            dialect.rewrite(self.graph, Destination(self.platform, 12))
            write_model(to_model(self.graph, 12, Compat.reference, dialect.files), path)
            outputs.append(linger_jax.OnnxRunner(path).run(x)[0])
        return *outputs, [n.op_type for n in onnx.load(path).graph.node if "quant" not in n.op_type.lower()]


@pytest.mark.parametrize("platform", [Platform.arcs, Platform.venusA])
@pytest.mark.parametrize(
    ("plane", "kernel", "strides", "pads", "operators"),
    [
        ((6, 6), [3, 3], [1, 1], [1, 1, 1, 1], ["QAvgPool2d", "QBatchNorm2d"]),
        ((6, 6), [2, 2], [2, 2], [0, 0, 0, 0], ["QConv2d"]),
        ((8, 8), [8, 8], [8, 8], [0, 0, 0, 0], ["Reshape", "QLinear", "Reshape"]),
    ],
)
def test_a_pool_on_a_finer_grid(tmp_path, platform, plane, kernel, strides, pads, operators):
    """The result's scale is above the operand's, where the executor would shift to the left."""
    drawn = Drawn(platform, (1, 3, *plane))
    size = (plane[0] + 2 * pads[0] - kernel[0]) // strides[0] + 1
    shape = (1, 3, size, size)
    window = {"kernel_shape": kernel, "strides": strides, "pads": pads}
    counts = {"ceil_mode": 0, "count_include_pad": 1, "divisor_override": -1}
    y = drawn.node("QAvgPool2d", [drawn.quantized(32.0)], shape, **ACT, scale_x=32.0, scale_o=128.0, **window, **counts)
    before, after, found = drawn.run(tmp_path / "m.onnx", y, 128.0, shape)
    rows = ["Transpose", "Reshape", "QConv2d", "Reshape", "Transpose"] if platform is Platform.venusA else ["QLinear"]
    assert found == [name for op in operators for name in (rows if op == "QLinear" else [op])]
    np.testing.assert_array_equal(after, before)
    assert np.unique(before).size > 2


def test_a_concatenation_of_finer_operands_on_venus_a(tmp_path):
    """The operand above the result's scale is rounded in front of the concatenation (docs/decisions.md D22)."""
    drawn = Drawn(Platform.venusA, (1, 3, 4, 4))
    fine, shape = drawn.quantized(64.0), (1, 6, 4, 4)
    weight = drawn.graph.constant("c.weight", np.eye(3, dtype=np.int8)[:, :, None, None] * 64)
    window = {"kernel_shape": [1, 1], "strides": [1, 1], "pads": [0] * 4, "dilations": [1, 1], "group": 1}
    grids = {"scale_x": 64.0, "scale_o": 16.0, "w_bits": 8, "scale_w": 64.0}
    coarse = drawn.node("QConv2d", [fine, weight], (1, 3, 4, 4), **ACT, **grids, **window)
    scales = {"scale_x_0": 64.0, "x_0_bits": 8, "scale_x_1": 16.0, "x_1_bits": 8}
    attributes = {"axis": 1, "o_bits": 8, "scale_o": 16.0, "quant_mode": "floor_add", **scales}
    y = drawn.node("QCat", [fine, coarse], shape, **attributes)
    before, after, found = drawn.run(tmp_path / "m.onnx", y, 16.0, shape)
    assert found == ["QConv2d", "QBatchNorm2d", "QCat"]
    np.testing.assert_array_equal(after, before)
