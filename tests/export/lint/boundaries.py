"""Files on both sides of every limit of the packer, and the check that refuses those beyond.

Measured with the packer (pythinker 3.0.4): it takes exactly the files that no check refuses, given the options that the
lint names. ``test_packer_agrees.py`` measures again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx

from tests.export.lint.files import File

Build = Callable[[str], onnx.ModelProto]


def plane(kernel: tuple[int, int], size: int = 24, **changes: Any) -> Build:
    def build(platform: str) -> onnx.ModelProto:
        file = File(platform)
        channels = changes.get("channels", 4)
        return file.done(file.conv(file.input((1, channels, size, size)), kernel, **changes))

    return build


def sequence(kernel: int, **changes: Any) -> Build:
    def build(platform: str) -> onnx.ModelProto:
        file = File(platform)
        return file.done(file.conv(file.input((1, changes.get("channels", 4), 24)), (kernel,), **changes))

    return build


def pooled(kernel: tuple[int, int], stride: int, size: tuple[int, int] = (9, 9), **changes: Any) -> Build:
    def build(platform: str) -> onnx.ModelProto:
        file = File(platform)
        x = file.conv(file.input((1, 4, *size)))
        return file.done(file.pool(x, kernel, (stride, stride), **changes))

    return build


def linear(scale: float = 16.0, bits: int = 8, shown: float | None = None, **changes: Any) -> Build:
    def build(platform: str) -> onnx.ModelProto:
        file = File(platform)
        changed = {"scale_x": scale, "x_bits": bits, **changes}
        return file.done(file.linear(file.input((1, 8), scale, bits), **changed), shown or changed.get("scale_o", 16.0))

    return build


def product(scale_o: float, left: tuple[int, ...] = (2, 6, 8), right: tuple[int, ...] = (2, 8, 6)) -> Build:
    def build(platform: str) -> onnx.ModelProto:
        file = File(platform)
        x = file.linear(file.input(left))
        return file.done(file.both("QBmm", x, file.input(right), scale_o=scale_o), scale_o)

    return build


def added(other: tuple[int, ...]) -> Build:
    def build(platform: str) -> onnx.ModelProto:
        file = File(platform)
        x = file.conv(file.input((1, 4, 8, 8)))
        return file.done(file.both("QAdd", x, file.input(other)))

    return build


def softmax(length: int) -> Build:
    def build(platform: str) -> onnx.ModelProto:
        file = File(platform)
        x = file.linear(file.input((1, 8)), outputs=length)
        return file.done(file.quantized("QSoftmax", [x], axis=-1))

    return build


def behind(op: str, **attributes: Any) -> Build:
    def build(platform: str) -> onnx.ModelProto:
        file = File(platform)
        x = file.node(op, [file.linear(file.input((1, 8)))], standard=True, **attributes)
        return file.done(file.linear(x))

    return build


def unsqueezed(as_input: bool) -> Build:
    def build(platform: str) -> onnx.ModelProto:
        file = File(platform)
        x = file.linear(file.input((1, 8)))
        axes = {} if as_input else {"axes": [1]}
        inputs = [x, file.constant([1])] if as_input else [x]
        return file.done(file.node("Unsqueeze", inputs, standard=True, **axes), opset=13 if as_input else 12)

    return build


def alone(platform: str) -> onnx.ModelProto:
    file = File(platform)
    return file.done(file.node("Relu", [file.input((1, 8))], standard=True))


def two_scales(platform: str) -> onnx.ModelProto:
    file = File(platform)
    x = file.linear(file.input((1, 8), name="x"))
    return file.done(file.both("QAdd", x, file.input((1, 8), 32.0, name="x"), scale_y=32.0))


def recurrent(features: int = 12, states: bool = False) -> Build:
    def build(platform: str) -> onnx.ModelProto:
        file, hidden = File(platform), features
        x = [file.input((1, 6, features))]
        if states:
            x += [file.input((1, 1, hidden)), file.input((1, 1, hidden), 32768.0, 32)]
        for shape, dtype in (((4 * hidden, features), np.int8), ((4 * hidden, hidden), np.int8)):
            x.append(file.constant(np.ones(shape, dtype)))
        x += [file.constant(np.ones(4 * hidden, np.int32)) for _ in range(2)]
        scales = {"scale_iw": 64.0, "scale_hw": 64.0, "scale_h": 16.0, "scale_c": 32768.0}
        sizes = {"input_size": features, "hidden_size": hidden, "num_layers": 1, "batch_first": 0, "go_forward": 1}
        given = {"has_hidden": int(states), "has_cell": int(states)}
        outputs = file.quantized("QLSTM", x, outputs=3, w_bits=8, **scales, **sizes, **given)
        return file.done(outputs[0])

    return build


BOUNDARIES: Mapping[str, tuple[str | None, Build]] = {
    "conv kernel 5": (None, plane((5, 5))),
    "conv kernel 6": ("kernel", plane((6, 6))),
    "conv kernel 1x6": ("kernel", plane((1, 6))),
    "conv kernel 12 dilation 2": (None, plane((12, 12), 30, dilation=2)),
    "conv kernel 13 dilation 2": ("kernel", plane((13, 13), 30, dilation=2)),
    "conv dilation 8": (None, plane((3, 3), dilation=8)),
    "conv dilation 3": ("dilation", plane((3, 3), dilation=3)),
    "conv stride 4": (None, plane((4, 4), stride=4)),
    "conv stride 3": ("stride", plane((5, 5), stride=3)),
    "conv kernel 1 stride 2": ("stride and kernel", plane((1, 1), stride=2)),
    "conv kernel 3 padding 3": (None, plane((3, 3), pads=3)),
    "conv kernel 3 padding 4": ("padding", plane((3, 3), pads=4)),
    "conv padding 11": (None, plane((12, 12), dilation=2, pads=11)),
    "conv padding 12": ("padding", plane((12, 12), dilation=2, pads=12)),
    "conv plane 3 with padding 1": (None, plane((5, 5), 3, pads=1)),
    "conv plane 4 without": ("kernel and plane", plane((5, 5), 4)),
    "conv depthwise": (None, plane((3, 3), channels=8, features=8, group=8)),
    "conv several results a group": (None, plane((3, 3), channels=8, features=8, group=4)),
    "conv one result a group": ("groups", plane((3, 3), channels=8, features=4, group=4)),
    "conv1d kernel 12": (None, sequence(12)),
    "conv1d kernel 13": ("kernel", sequence(13)),
    "conv1d two groups": (None, sequence(3, channels=8, features=8, group=2)),
    "conv1d depthwise": ("groups", sequence(3, channels=8, features=8, group=8)),
    "transposed kernel 12": (None, plane((12, 12), transposed=True)),
    "transposed kernel 13": ("kernel", plane((13, 13), transposed=True)),
    "transposed dilation 2": ("dilation", plane((3, 3), transposed=True, dilation=2)),
    "transposed two groups": ("groups", plane((3, 3), transposed=True, group=2)),
    "transposed plane 2 with padding 1": (None, plane((4, 4), 2, transposed=True, stride=2, pads=1)),
    "transposed plane 3 without": ("kernel and plane", plane((4, 4), 3, transposed=True, stride=2)),
    "max pool 5": (None, pooled((5, 5), 1, maximum=True)),
    "max pool 6": ("pool kernel", pooled((6, 6), 1, maximum=True)),
    "max pool of a whole axis": (None, pooled((6, 6), 1, (6, 12), maximum=True)),
    "max pool stride above kernel": ("stride and kernel", pooled((2, 2), 4, maximum=True)),
    "max pool padding above kernel": ("padding", pooled((2, 2), 1, pads=3, maximum=True)),
    "average pool of the plane": (None, pooled((9, 9), 9)),
    "average pool stride above kernel": ("stride and kernel", pooled((2, 2), 4)),
    "linear 16-bit input": ("activation width", linear(bits=16)),
    "linear 16-bit weights": ("weight width", linear(w_bits=16, dtype=np.int16)),
    "linear 32-bit output": (None, linear(o_bits=32)),
    "linear 4-bit output": ("output width", linear(o_bits=4)),
    "linear odd scale": ("power of two", linear(24.0)),
    "linear odd dequant": ("scale agreement", linear(shown=32.0)),
    "linear ceil": (None, linear(quant_mode="ceil")),
    "linear unknown rounding": ("quant_mode", linear(quant_mode="nearest")),
    "linear without rounding": ("quant_mode", linear(quant_mode=None)),
    "product scale": (None, product(256.0)),
    "product scale above": ("product scale", product(512.0)),
    "product 4-D": ("rank", product(16.0, (1, 2, 6, 8), (1, 2, 8, 6))),
    "add one axis": (None, added((1, 4, 8, 1))),
    "add two axes": ("broadcast", added((1, 4, 1, 1))),
    "softmax 2048": (None, softmax(2048)),
    "softmax 2049": ("softmax length", softmax(2049)),
    "axes as attribute": (None, unsqueezed(as_input=False)),
    "axes as input": ("axes form", unsqueezed(as_input=True)),
    "identity": ("operator", behind("Identity")),
    "abs": ("operator", behind("Abs")),
    "cast": ("operator", behind("Cast", to=3)),
    "relu": (None, behind("Relu")),
    "no weights": ("constants", alone),
    "two scales on one input": ("input scale", two_scales),
    "lstm": (None, recurrent()),
    "lstm with states": ("initial state", recurrent(states=True)),
    "lstm beyond share memory": ("memory", recurrent(256)),
    "large weights": (None, plane((3, 3), 8, channels=256, features=256, pads=1)),
    "large maps": (None, plane((3, 3), 150, channels=16, features=16, pads=1)),
    "weights beyond PSRAM": ("memory", plane((5, 5), 8, channels=512, features=700, pads=2)),
}
"""Name: the check that refuses the file, or None where the packer takes it; the file."""
