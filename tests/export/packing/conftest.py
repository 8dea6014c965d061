"""A program that acts as the packer, and a file for it."""

from __future__ import annotations

import stat
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper


@pytest.fixture
def actor(tmp_path: Path) -> Callable[[str], Path]:
    """Makes a program that stands in for the packer, of Python code that sees its arguments as ``sys.argv``."""

    def make(code: str) -> Path:
        path = tmp_path / "actor"
        path.write_text(f"#!{sys.executable}\nimport os, pathlib, sys, time\n{code}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return make


@pytest.fixture
def linear_file(tmp_path: Path) -> Callable[..., Path]:
    """Makes a file of one linear layer."""

    def make(
        inputs: int = 16,
        outputs: int = 8,
        rows: int = 1,
        *,
        platform: str = "arcs",
        w_bits: int = 8,
        scale_o: float = 16.0,
        shown: float | None = None,
    ) -> Path:
        common = {"domain": "linger", "platform": platform}
        bits = {"x_bits": 8, "w_bits": w_bits, "o_bits": 8}
        scales = {"scale_x": 16.0, "scale_w": 64.0, "scale_o": scale_o}
        nodes = [
            helper.make_node("Quant", ["x"], ["0"], "Quant_0", scale_x=16.0, data_bits=8, zero_point=0, **common),
            helper.make_node(
                "QLinear", ["0", "w"], ["1"], "QLinear_1", quant_mode="floor_add", **bits, **scales, **common
            ),
            helper.make_node("Dequant", ["1"], ["y"], "Dequant_y", domain="linger", scale_o=shown or scale_o),
        ]
        weight = (
            np.random.default_rng(0)
            .integers(-(2 ** (w_bits - 1)), 2 ** (w_bits - 1), (outputs, inputs))
            .astype(np.int8)
        )
        graph = helper.make_graph(
            nodes,
            "main_graph",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, inputs])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, outputs])],
            [numpy_helper.from_array(weight, "w")],
        )
        opsets = [helper.make_opsetid("", 12), helper.make_opsetid("linger", 1)]
        path = tmp_path / "model.onnx"
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=7), path)
        return path

    return make
