"""A file's integers by the text of the specification: a second reading of it, which shares no line with the library.

All other ways of evaluating a model use the arithmetic of ``linger_jax.numerics``: what is wrong there is wrong in all
of them. Here a node is a few lines of Python integers, and whatever only moves values is ONNX's own reference.
Functions of the chip (softmax, sigmoid, recurrent cells, averages) have no second reading; a file that holds one is not
evaluated.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

Integers = np.ndarray
"""Of Python integers, which have no width."""

_MOVES = frozenset(
    {
        *("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Gather", "Expand", "Tile", "Split"),
        *("Identity", "Relu", "Concat", "Cast", "Pad", "ArgMax"),
    }
)
"""Operators of ONNX that make no new numbers."""


@dataclasses.dataclass(frozen=True)
class Bias:
    """Of a layer: its real numbers, the scale that its quantizer stores, and their width as integers."""

    values: np.ndarray
    scale: float
    bits: int


class HasNoSecondReadingError(Exception):
    """The file holds an operator that stands for arithmetic of the chip."""


def evaluate(path: Path, inputs: Sequence[np.ndarray], biases: Mapping[str, Bias] | None = None) -> list[np.ndarray]:
    """Outputs of a ``linger`` file.

    Args:
      path: the file.
      inputs: arrays of its inputs' shapes.
      biases: by name in the file; the integers there are not read then.

    Raises:
      HasNoSecondReadingError: an operator is not among those above.
    """
    model = onnx.load(path)
    known = {*(("", move) for move in _MOVES), *(("linger", operator.__name__) for operator in _OPERATORS)}
    other = sorted({node.op_type for node in model.graph.node if (node.domain, node.op_type) not in known})
    if other:
        raise HasNoSecondReadingError(", ".join(other))
    steps = {name: value for node in model.graph.node for name, value in _bias_steps(node, biases or {})}
    for tensor in model.graph.initializer:  # integers of any width become wide ones
        values = onnx.numpy_helper.to_array(tensor)
        values = steps.get(tensor.name, values)
        if values.dtype.kind == "i":
            tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.int64), tensor.name))
    evaluator = ReferenceEvaluator(model, new_ops=list(_OPERATORS))
    names = [entry.name for entry in model.graph.input]
    found = evaluator.run(None, dict(zip(names, inputs, strict=True)))
    return [np.asarray(array) for array in found]


def _bias_steps(node: onnx.NodeProto, biases: Mapping[str, Bias]) -> Iterator[tuple[str, np.ndarray]]:
    """A bias on its own grid, then on that of the products: docs/specification/quantizers.md sections 5 and 7."""
    scales = {a.name: a.f for a in node.attribute if a.name in ("scale_x", "scale_w")}
    if len(node.input) < 3 or node.input[2] not in biases or len(scales) < 2:
        return
    bias, product = biases[node.input[2]], scales["scale_x"] * scales["scale_w"]
    grid = np.clip(bias.scale, 1.0, 2.0**23)
    most = 2.0 ** (bias.bits - 1)
    whole = np.clip(np.rint(np.float64(bias.values) * grid), -most, most - 1)
    yield node.input[2], np.clip(np.floor(whole * (product / grid)), -most, most - 1).astype(np.int64)


def wide(values: np.ndarray) -> Integers:
    """Python integers of an array."""
    return np.asarray(values).astype(object)


def moved(total: Integers, shift: int, mode: str = "floor_add") -> Integers:
    """total / 2^shift, rounded to whole numbers: docs/specification/quantizers.md section 1."""
    if shift <= 0:
        return total << -shift
    if mode == "floor":
        return total >> shift
    half = 1 << (shift - 1)
    nearest = (total + half) >> shift
    if mode == "floor_add":
        return nearest
    is_tie = (total + half) % (1 << shift) == 0
    return np.where(is_tie, nearest - nearest % 2, nearest)


def requantized(total: Integers, scale: float, scale_o: float, bits: int, mode: str) -> np.ndarray:
    """On another grid and cut to its width; of more than 24 bits as a float32 holds them."""
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    whole = np.clip(moved(total, _log2(scale) - _log2(scale_o), mode), low, high)
    if bits > 24:
        whole = np.clip(wide(whole.astype(np.float32).astype(np.int64)), low, high)
    return whole.astype(np.int64)


def _log2(scale: float) -> int:
    mantissa, exponent = np.frexp(scale)
    assert mantissa == 0.5, scale
    return int(exponent) - 1


class _Operator(OpRun):
    op_domain = "linger"

    def finished(self, total: Integers, scale: float) -> tuple[np.ndarray]:
        mode = getattr(self, "quant_mode", "floor_add")
        return (requantized(total, scale, self.scale_o, self.o_bits, mode),)


class Quant(_Operator):
    def _run(self, x: np.ndarray, **_: Any) -> tuple[np.ndarray]:
        if x.dtype.kind == "i":
            raise HasNoSecondReadingError("Quant of integers")
        mode, most = getattr(self, "quant_mode", "floor_add"), 2 ** (self.data_bits - 1)
        scaled = np.float32(x) * np.float32(self.scale_x)
        rounded = {"floor_add": np.floor(scaled + np.float32(0.5)), "floor": np.floor(scaled), "round": np.rint(scaled)}
        return (np.clip(rounded[mode].astype(np.float64), -most, most - 1).astype(np.int64),)


class Dequant(_Operator):
    def _run(self, x: np.ndarray, **_: Any) -> tuple[np.ndarray]:
        return ((x / np.float64(self.scale_o)).astype(np.float32),)


class QAdd(_Operator):
    def _run(self, x: np.ndarray, y: np.ndarray, **_: Any) -> tuple[np.ndarray]:
        mode, out = getattr(self, "quant_mode", "floor_add"), _log2(self.scale_o)
        first, second = moved(wide(x), _log2(self.scale_x) - out, mode), moved(wide(y), _log2(self.scale_y) - out, mode)
        return self.finished(first + second, self.scale_o)


class QMul(_Operator):
    def _run(self, x: np.ndarray, y: np.ndarray, **_: Any) -> tuple[np.ndarray]:
        return self.finished(wide(x) * wide(y), self.scale_x * self.scale_y)


class QTable(_Operator):
    """Which function it is, only the model says; its results lie in order."""

    def _run(self, x: np.ndarray, results: np.ndarray, **_: Any) -> tuple[np.ndarray]:
        return (results[x + 128],)


class QBmm(_Operator):
    def _run(self, x: np.ndarray, y: np.ndarray, **_: Any) -> tuple[np.ndarray]:
        return self.finished(np.matmul(wide(x), wide(y)), self.scale_x * self.scale_y)


class QMatmul(QBmm):
    pass


class QCat(_Operator):
    def _run(self, *parts: np.ndarray, **_: Any) -> tuple[np.ndarray]:
        scales = [getattr(self, f"scale_x_{i}") for i in range(len(parts))]
        moved_parts = [self.finished(wide(part), scale)[0] for part, scale in zip(parts, scales, strict=True)]
        return (np.concatenate(moved_parts, self.axis),)


class _Weighted(_Operator):
    def with_bias(self, total: Integers, bias: np.ndarray | None, axis: int) -> tuple[np.ndarray]:
        if bias is not None:
            shape = [1] * total.ndim
            shape[axis] = -1
            total = total + wide(bias).reshape(shape)
        return self.finished(total, self.scale_x * self.scale_w)


class QLinear(_Weighted):
    def _run(self, x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None, **_: Any) -> tuple[np.ndarray]:
        return self.with_bias(np.matmul(wide(x), wide(w).T), b, -1)


class _Convolution(_Weighted):
    def _run(self, x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None, **_: Any) -> tuple[np.ndarray]:
        return self.with_bias(_convolved(self, wide(x), wide(w)), b, 1)


def _convolved(node: Any, x: Integers, w: Integers) -> Integers:
    axes = w.ndim - 2
    pads = [*zip(node.pads[:axes], node.pads[axes:] or node.pads[:axes], strict=True)]
    x = np.pad(x, [(0, 0), (0, 0), *pads])
    reach = [d * (k - 1) + 1 for d, k in zip(node.dilations, w.shape[2:], strict=True)]
    plane = [(n - r) // s + 1 for n, r, s in zip(x.shape[2:], reach, node.strides, strict=True)]
    inner, outer = w.shape[1], w.shape[0] // node.group
    total = wide(np.zeros((len(x), w.shape[0], *plane), np.int64))
    for tap in np.ndindex(*w.shape[2:]):
        window = tuple(
            slice(t * d, t * d + s * (n - 1) + 1, s)
            for t, d, s, n in zip(tap, node.dilations, node.strides, plane, strict=True)
        )
        for group in range(node.group):
            read = x[(slice(None), slice(group * inner, (group + 1) * inner), *window)]
            here = slice(group * outer, (group + 1) * outer)
            total[:, here] += np.moveaxis(np.tensordot(read, w[(here, slice(None), *tap)], (1, 1)), -1, 1)
    return total


class QConv1d(_Convolution):
    pass


class QConv2d(_Convolution):
    pass


class _TransposedConvolution(_Weighted):
    def _run(self, x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None, **_: Any) -> tuple[np.ndarray]:
        x, w = wide(x), wide(w)
        axes = w.ndim - 2
        begin, end = self.pads[:axes], self.pads[axes:] or self.pads[:axes]
        extra = getattr(self, "output_padding", None) or [0] * axes
        sizes = [
            (n - 1) * s + d * (k - 1) + 1 + o
            for n, s, d, k, o in zip(x.shape[2:], self.strides, self.dilations, w.shape[2:], extra, strict=True)
        ]
        inner, outer = x.shape[1] // self.group, w.shape[1]
        total = wide(np.zeros((len(x), outer * self.group, *sizes), np.int64))
        for tap, group in itertools.product(np.ndindex(*w.shape[2:]), range(self.group)):
            window = tuple(
                slice(t * d, t * d + s * (n - 1) + 1, s)
                for t, d, s, n in zip(tap, self.dilations, self.strides, x.shape[2:], strict=True)
            )
            read = x[:, group * inner : (group + 1) * inner]
            weight = w[(slice(group * inner, (group + 1) * inner), slice(None), *tap)]
            here = (slice(None), slice(group * outer, (group + 1) * outer), *window)
            total[here] += np.moveaxis(np.tensordot(read, weight, (1, 0)), -1, 1)
        kept = tuple(slice(p, n - q) for p, q, n in zip(begin, end, sizes, strict=True))
        return self.with_bias(total[(slice(None), slice(None), *kept)], b, 1)


class QConvTranspose1d(_TransposedConvolution):
    pass


class QConvTranspose2d(_TransposedConvolution):
    pass


class QBatchNorm1d(_Weighted):
    def _run(self, x: np.ndarray, alpha: np.ndarray, beta: np.ndarray, **_: Any) -> tuple[np.ndarray]:
        return self.with_bias(wide(x) * wide(alpha).reshape(1, -1, *[1] * (x.ndim - 2)), beta, 1)


class QBatchNorm2d(QBatchNorm1d):
    pass


class Gather(_Operator):
    """Of a table, which comes first."""

    def _run(self, table: np.ndarray, rows: np.ndarray, **_: Any) -> tuple[np.ndarray]:
        return (table[rows],)


class Squeeze(_Operator):
    """Of integers."""

    def _run(self, x: np.ndarray, **_: Any) -> tuple[np.ndarray]:
        return (np.squeeze(x, tuple(self.axes)),)


_OPERATORS = (
    *(Quant, Dequant, QAdd, QMul, QTable, QBmm, QMatmul, QCat, QLinear, QConv1d, QConv2d),
    *(QConvTranspose1d, QConvTranspose2d, QBatchNorm1d, QBatchNorm2d, Gather, Squeeze),
)
