"""Small ONNX files of the field, written by hand."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ACT = {"x_bits": 8, "o_bits": 8, "platform": "arcs", "quant_mode": "floor_add"}


def node(op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> onnx.NodeProto:
    """A node; ``linger.`` before the name puts it into the field's domain."""
    domain, _, name = op.rpartition(".")
    return helper.make_node(name, list(inputs), list(outputs), name=f"{name}_{outputs[0]}", domain=domain, **attributes)


def quant(source: str, target: str, scale: float, bits: int = 8) -> onnx.NodeProto:
    return node("linger.Quant", [source], [target], scale_x=scale, data_bits=bits, zero_point=0, platform="arcs")


def dequant(source: str, target: str, scale: float) -> onnx.NodeProto:
    return node("linger.Dequant", [source], [target], scale_o=scale)


def write(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Sequence[str],
    constants: Mapping[str, np.ndarray] | None = None,
    integer_inputs: Sequence[str] = (),
) -> Path:
    """Writes a model and returns its path."""
    graph = helper.make_graph(
        list(nodes),
        "main_graph",
        [
            helper.make_tensor_value_info(
                name, TensorProto.INT64 if name in integer_inputs else TensorProto.FLOAT, list(shape)
            )
            for name, shape in inputs.items()
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", 12), helper.make_opsetid("linger", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=7), path)
    return path
