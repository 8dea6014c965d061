"""Small files for one chip, built in memory: each has what the packer wants besides what a test is about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SCALE = 16.0


class File:
    """A file under construction; every method returns the name of the tensor it makes."""

    def __init__(self, platform: str = "arcs") -> None:
        self.platform = platform
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, np.ndarray] = {}
        self._inputs: dict[str, Sequence[int]] = {}
        self._count = 0

    def input(self, shape: Sequence[int], scale: float = SCALE, bits: int = 8, name: str | None = None) -> str:
        source = name or f"x{len(self._inputs)}"
        self._inputs[source] = shape
        return self.node("Quant", [source], scale_x=scale, data_bits=bits, zero_point=0, platform=self.platform)

    def constant(self, values: Any, name: str | None = None) -> str:
        name = name or f"constant{len(self._constants)}"
        self._constants[name] = np.asarray(values)
        return name

    def node(
        self, op: str, inputs: Sequence[str], *, standard: bool = False, outputs: int = 1, **attributes: Any
    ) -> Any:
        made = [str(self._count + i) for i in range(outputs)]
        self._count += outputs
        domain = "" if standard else "linger"
        given = {k: v for k, v in attributes.items() if v is not None}
        self._nodes.append(helper.make_node(op, list(inputs), made, f"{op}_{made[0]}", domain=domain, **given))
        return made[0] if outputs == 1 else made

    def quantized(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        common = {"x_bits": 8, "scale_x": SCALE, "o_bits": 8, "scale_o": SCALE}
        return self.node(op, inputs, **{**common, "platform": self.platform, "quant_mode": "floor_add", **attributes})

    def weighted(
        self, op: str, x: str, weight: Sequence[int], bias: int, dtype: Any = np.int8, **attributes: Any
    ) -> str:
        inputs = [x, self.constant(np.ones(weight, dtype)), self.constant(np.ones(bias, np.int32))]
        return self.quantized(op, inputs, **{"w_bits": 8, "scale_w": 64.0, **attributes})

    def linear(self, x: str, inputs: int = 8, outputs: int = 8, **attributes: Any) -> str:
        return self.weighted("QLinear", x, (outputs, inputs), outputs, **attributes)

    def conv(
        self,
        x: str,
        kernel: Sequence[int] = (1, 1),
        *,
        channels: int = 4,
        features: int = 4,
        stride: int = 1,
        pads: int | Sequence[int] = 0,
        dilation: int = 1,
        group: int = 1,
        transposed: bool = False,
        **attributes: Any,
    ) -> str:
        axes = len(kernel)
        window = {
            "kernel_shape": list(kernel),
            "strides": [stride] * axes,
            "pads": [pads] * 2 * axes if isinstance(pads, int) else list(pads),
            "dilations": [dilation] * axes,
            "group": group,
        }
        if transposed:
            window["output_padding"] = [0] * axes
            weight = (channels, features // group, *kernel)
        else:
            weight = (features, channels // group, *kernel)
        op = f"QConv{'Transpose' if transposed else ''}{axes}d"
        return self.weighted(op, x, weight, features, **window, **attributes)

    def pool(
        self, x: str, kernel: Sequence[int], stride: Sequence[int], pads: int = 0, *, maximum: bool = False
    ) -> str:
        window = {"kernel_shape": list(kernel), "strides": list(stride), "pads": [pads] * 4, "ceil_mode": 0}
        if maximum:
            return self.node("MaxPool", [x], standard=True, **window)
        return self.quantized("QAvgPool2d", [x], **window, count_include_pad=1, divisor_override=-1)

    def both(self, op: str, x: str, y: str, **attributes: Any) -> str:
        return self.quantized(op, [x, y], **{"y_bits": 8, "scale_y": SCALE, **attributes})

    def done(self, result: str, scale: float = SCALE, opset: int = 12) -> onnx.ModelProto:
        self._nodes.append(helper.make_node("Dequant", [result], ["y"], "Dequant_y", domain="linger", scale_o=scale))
        graph = helper.make_graph(
            self._nodes,
            "main_graph",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in self._inputs.items()],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(value, name) for name, value in self._constants.items()],
        )
        opsets = [helper.make_opsetid("", opset), helper.make_opsetid("linger", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=7)
