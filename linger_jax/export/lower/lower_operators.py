"""Operators of one or two operands, activations and pools."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from linger_jax.config import RoundMode
from linger_jax.export.lower.emitter import stored
from linger_jax.export.lower.exported_values import ExportedValue, Grid, TensorValue, channels_first, flax_order
from linger_jax.export.lower.lower_weighted import padded, reshaped
from linger_jax.export.lower.lowering_step import LoweringStep, lowers
from linger_jax.kinds import (
    ADD,
    ARGMAX,
    AVG_POOL,
    CAT,
    GLU,
    MATMUL,
    MAX_POOL,
    MUL,
    OPERATORS,
    RELU,
    RELU6,
    STACK,
    TABLE,
    OnnxOperator,
    OperatorKind,
)
from linger_jax.kinds import onnx_operators as ops
from linger_jax.numerics import LARGEST_EXPONENT
from linger_jax.numerics.look_up import FunctionTable
from linger_jax.plan.graph import RESULTS, Window


def _pair(step: LoweringStep) -> tuple[TensorValue, TensorValue]:
    """Both operands as integers, their axes in one order; the image decides."""
    x, y = step.quantized(0, "input_quantizer", "0"), step.quantized(1, "input_quantizer", "1")
    if x.rank == 0 or y.rank == 0 or x.axes == y.axes:
        return x, y
    if x.order is not None or y.order is not None:
        raise step.error("a flattened image meets another value")
    lead = y if y.image and not x.image else x
    return step.emit.arranged(x, lead.axes), step.emit.arranged(y, lead.axes)


@lowers(ADD, MUL)
def of_two_values(step: LoweringStep) -> Sequence[ExportedValue]:
    """``QAdd``, ``QMul``: operands of one order, the smaller one repeated."""
    x, y = _pair(step)
    larger = x if x.rank >= y.rank else y
    return [two_operands(step, operator_of(step).node_in_file, x, y, larger.laid(step.shape(), larger.axes))]


def operator_of(step: LoweringStep) -> OperatorKind:
    """What is known of an operator."""
    assert isinstance(step.node.kind, OperatorKind)
    return step.node.kind


def two_operands(
    step: LoweringStep, operator: OnnxOperator, x: TensorValue, y: TensorValue, like: TensorValue
) -> TensorValue:
    """A node of two integer operands; the result has the shape and axes of ``like``."""
    assert x.grid is not None
    assert y.grid is not None
    output = step.emit.output_grid(step.node)
    attributes = {
        "x_bits": x.grid.bits,
        "scale_x": x.grid.scale,
        "y_bits": y.grid.bits,
        "scale_y": y.grid.scale,
        "o_bits": output.bits,
        "scale_o": output.scale,
        "quant_mode": step.emit.round_mode(step.node),
    }
    return step.emit.integers(operator, [x.tensor, y.tensor], output, like, attributes=attributes, node=step.node)


@lowers(MATMUL)
def matrix_product(step: LoweringStep) -> Sequence[ExportedValue]:
    """``QBmm``: batch axes, rows, columns; Transpose nodes bring the operands into that order."""
    (left, right), (left_batch, right_batch) = step.node.attributes["dimension_numbers"]
    x, y = step.quantized(0, "input_quantizer", "0"), step.quantized(1, "input_quantizer", "1")
    rows = [axis for axis in range(x.rank) if axis not in (*left, *left_batch)]
    columns = [axis for axis in range(y.rank) if axis not in (*right, *right_batch)]
    if len(left) != 1 or len(rows) > 1 or len(columns) > 1 or not rows or not columns:
        raise step.error(
            "a product that sums over several axes, or whose operands have several axes of their own, has no form in "
            "a file; reshape the operands to matrices"
        )
    if x.order is not None or y.order is not None:
        raise step.error("a flattened image enters a product of two values")
    x = step.emit.arranged(x, (*left_batch, *rows, *left))
    y = step.emit.arranged(y, (*right_batch, *right, *columns))
    shape, batch = step.shape(), len(left_batch)
    like = dataclasses.replace(x, image=False)
    if batch < 2:
        return [two_operands(step, ops.QBMM, x, y, like.laid(shape, flax_order(len(shape))))]
    # linger's QBmm, and the chip's, has one batch axis.
    x, y = (
        reshaped(step, _in_order(v, axes), (math.prod(shape[:batch]), *(v.shape[a] for a in axes[batch:])))
        for v, axes in ((x, x.axes), (y, y.axes))
    )
    whole = (math.prod(shape[:batch]), *shape[batch:])
    return [reshaped(step, two_operands(step, ops.QBMM, x, y, x.laid(whole, flax_order(3))), shape)]


def _in_order(value: TensorValue, axes: Sequence[int]) -> TensorValue:
    """The value as one whose axes Flax counts the way the tensor holds them."""
    return dataclasses.replace(
        value, shape=tuple(value.shape[a] for a in axes), axes=flax_order(value.rank), image=False
    )


@lowers(CAT)
def concatenation(step: LoweringStep) -> Sequence[ExportedValue]:
    """``QCat`` of any number of tensors, along an axis of theirs or a new one."""
    parts = [step.quantized(i, "input_quantizer", str(i)) for i in range(len(step.operands))]
    if step.node.op != STACK:
        return [_joined(step, parts)]
    axis = int(step.node.attributes["axis"])
    parts = [with_unit_axis(step, part, axis % (part.rank + 1)) for part in parts]
    return [_joined(step, parts, axis)]


def with_unit_axis(step: LoweringStep, value: TensorValue, axis: int) -> TensorValue:
    """A new axis of length one, in Flax's order."""
    value = step.emit.in_flax_order(value)
    shape = (*value.shape[:axis], 1, *value.shape[axis:])
    return step.emit.moved(
        ops.UNSQUEEZE, value, {"axes": [axis]}, shape=shape, axes=flax_order(len(shape)), image=False
    )


def _joined(step: LoweringStep, parts: list[TensorValue], axis: int | None = None) -> TensorValue:
    axis = int(step.node.attributes["dimension"]) if axis is None else axis
    return joined(step, parts, axis, step.emit.output_grid(step.node), step.shape())


def joined(
    step: LoweringStep, parts: Sequence[TensorValue], axis: int, output: Grid, shape: tuple[int, ...]
) -> TensorValue:
    """``QCat`` along a Flax axis; an image decides the order of axes."""
    lead = next((p for p in parts if p.image), parts[0])
    if any(p.order is not None for p in parts):
        raise step.error("a flattened image is concatenated")
    parts = [step.emit.arranged(p, lead.axes) for p in parts]
    attributes: dict[str, Any] = {
        "axis": lead.position(axis),
        "o_bits": output.bits,
        "scale_o": output.scale,
        "quant_mode": step.emit.round_mode(step.node),
    }
    for i, part in enumerate(parts):
        assert part.grid is not None
        attributes |= {f"scale_x_{i}": part.grid.scale, f"x_{i}_bits": part.grid.bits}
    like = lead.laid(shape, lead.axes)
    return step.emit.integers(ops.QCAT, [p.tensor for p in parts], output, like, attributes=attributes, node=step.node)


@lowers(*(kind for kind in OPERATORS if kind.function is not None))
def chip_function(step: LoweringStep) -> Sequence[ExportedValue]:
    """A function of each element, or along one axis."""
    kind = operator_of(step)
    assert kind.function is not None
    x = step.quantized(0, "input_quantizer", "0")
    output = step.emit.output_grid(step.node)
    attributes = step.emit.act(step.node, x, output)
    if kind.function.form == "rows":
        if x.order is not None:
            raise step.error(f"a flattened image enters a {kind.name}")
        attributes["axis"] = x.position(int(step.node.attributes["axis"]))
    return [step.emit.integers(kind.node_in_file, [x.tensor], output, x, attributes=attributes, node=step.node)]


@lowers(TABLE)
def table(step: LoweringStep) -> Sequence[ExportedValue]:
    """``QTable``: the 256 integers that evaluation looks up at this scale.

    Raises:
      ExportError: the operand lies on a grid that has no table.
    """
    x = step.quantized(0, "input_quantizer", "0")
    output = step.emit.output_grid(step.node)
    assert x.grid is not None
    exponent = round(math.log2(x.grid.scale))
    if not 0 <= exponent <= LARGEST_EXPONENT:
        raise step.error(f"its operand has the scale {x.grid.scale:g}; tables have 1 to 2^{LARGEST_EXPONENT}")
    attributes = step.emit.act(step.node, x, output)
    results: FunctionTable = step.node.attributes[RESULTS]
    steps = results.integers(exponent, output.scale, output.bits, RoundMode(attributes["quant_mode"]))
    constant = step.emit.graph.constant(f"{step.node.label}.results", stored(steps, output.bits))
    operator = operator_of(step).node_in_file
    return [step.emit.integers(operator, [x.tensor, constant], output, x, attributes=attributes, node=step.node)]


@lowers(GLU)
def gated_linear_unit(step: LoweringStep) -> Sequence[ExportedValue]:
    """``QGLU`` along ``dim``."""
    x = step.quantized(0, "input_quantizer")
    if x.order is not None:
        raise step.error("a flattened image enters a glu")
    output = step.emit.output_grid(step.node)
    attributes = {**step.emit.act(step.node, x, output), "dim": x.position(int(step.node.attributes["axis"]))}
    like = x.laid(step.shape(), x.axes)
    return [step.emit.integers(ops.QGLU, [x.tensor], output, like, attributes=attributes, node=step.node)]


@lowers(RELU)
def rectifier(step: LoweringStep) -> Sequence[ExportedValue]:
    """``Relu``."""
    return [step.emit.moved(ops.RELU, _tensor_operand(step), {})]


@lowers(RELU6)
def clipped_rectifier(step: LoweringStep) -> Sequence[ExportedValue]:
    """``Clip`` to 0 and 6, in real units."""
    bounds = [step.emit.graph.constant(name, np.asarray(v, np.float32)) for name, v in (("zero", 0), ("six", 6))]
    return [step.emit.moved(ops.CLIP, _tensor_operand(step), {}, bounds)]


def _tensor_operand(step: LoweringStep) -> TensorValue:
    return next(value for value in step.operands if isinstance(value, TensorValue))


@lowers(MAX_POOL)
def max_pool(step: LoweringStep) -> Sequence[ExportedValue]:
    """``MaxPool``; of floats too, in front of the first quantized step.

    Raises:
      ExportError: it reaches over the batch or the channels.
    """
    x = step.emit.as_image(step.tensor(0))
    a, axes = step.node.attributes, x.rank - 2
    plane = slice(1, 1 + axes)
    if axes < 1 or any(a["window_dimensions"][i] != 1 for i in (0, -1)) or any(d != 1 for d in a["base_dilation"]):
        raise step.error("a maximum over windows of other axes than those of the plane has no form in a file")
    padding = [tuple(int(p) for p in pair) for pair in a["padding"]][plane]
    attributes = {
        "kernel_shape": [int(k) for k in a["window_dimensions"][plane]],
        "strides": [int(s) for s in a["window_strides"][plane]],
        "pads": [low for low, _ in padding] + [high for _, high in padding],
        "dilations": [int(d) for d in a["window_dilation"][plane]],
        "ceil_mode": 0,
    }
    return [step.emit.moved(ops.MAX_POOL, x, attributes, shape=step.shape(), axes=channels_first(x.rank))]


@lowers(ARGMAX)
def index_of_largest(step: LoweringStep) -> Sequence[ExportedValue]:
    """``ArgMax``: the first of equals, as integers order them like the real numbers."""
    x = step.tensor(0)
    if x.order is not None:
        raise step.error("a flattened image enters an argmax")
    (axis,) = step.node.attributes["axes"]
    if not np.issubdtype(step.node.attributes["index_dtype"], np.integer):
        raise step.error("its result is no integer")
    (tensor,) = step.emit.graph.add(
        ops.ARG_MAX,
        [x.tensor],
        element_types=["int64"],
        attributes={"axis": x.position(axis), "keepdims": 0},
        label=step.node.label,
    )
    axes = tuple(a - (a > axis) for a in x.axes if a != axis)
    dtype = np.dtype(step.node.attributes["index_dtype"])
    return [step.emit.made(TensorValue(tensor, step.shape(), axes, dtype))]


@lowers(AVG_POOL)
def average_pool(step: LoweringStep) -> Sequence[ExportedValue]:
    """``QAvgPool1d``, ``QAvgPool2d``; over the whole plane too, since the packer has no other name for that."""
    x = step.emit.as_image(step.quantized(0, "input_quantizer"))
    node, window = step.node, step.node.pool.window
    if any(low != high for low, high in window.padding) and not _overhangs(window, x.shape[1:-1]):
        if not np.all(np.asarray(node.pool.divisor) == math.prod(window.kernel)):
            raise step.error(
                f"its padding {list(window.padding)} differs at both ends and is not counted, which no node says; pad "
                "alike at both ends, or count the padding (count_include_pad=True)"
            )
        x = padded(step, x, [(0, 0), *window.padding, (0, 0)])
        window = dataclasses.replace(window, padding=((0, 0),) * len(window.padding))
    output, plane = step.emit.output_grid(node), x.shape[1:-1]
    attributes = step.emit.act(node, x, output)
    pooled = (x.shape[0], *_output_plane(window, plane), x.shape[-1])
    attributes |= _window_attributes(step, window, plane, pooled)
    like = x.laid(pooled, channels_first(x.rank))
    operator = of_plane(step, len(plane), ops.QAVG_POOL1D, ops.QAVG_POOL2D)
    y = step.emit.integers(operator, [x.tensor], output, like, attributes=attributes, node=node)
    return [y if y.shape == step.shape() else flattened(step, y)]


def of_plane(step: LoweringStep, axes: int, line: OnnxOperator, plane: OnnxOperator) -> OnnxOperator:
    """The operator for an image of one or two axes besides batch and channels.

    Raises:
      ExportError: it has more.
    """
    if axes > 2:
        raise step.error(f"it works on {axes} axes of an image, and the field has operators for one or two")
    return line if axes == 1 else plane


def flattened(step: LoweringStep, value: TensorValue) -> TensorValue:
    """Everything behind the batch in one axis, in the tensor's order."""
    size = math.prod(value.shape[1:])
    places = np.arange(size).reshape(value.shape[1:]).transpose([a - 1 for a in value.axes[1:]]).reshape(-1)
    order = None if np.array_equal(places, np.arange(size)) else places
    return step.emit.moved(
        ops.FLATTEN, value, {"axis": 1}, shape=(value.shape[0], size), axes=(0, 1), image=False, order=order
    )


def _output_plane(window: Window, plane: Sequence[int]) -> tuple[int, ...]:
    return tuple(
        (n + low + high - k) // s + 1
        for n, k, s, (low, high) in zip(plane, window.kernel, window.strides, window.padding, strict=True)
    )


def _overhangs(window: Window, plane: Sequence[int]) -> bool:
    """Whether padding that is wider at the end is what ``ceil_mode`` adds to the padding of the begin."""
    wanted = _output_plane(window, plane)
    for n, k, s, (low, _), size in zip(plane, window.kernel, window.strides, window.padding, wanted, strict=True):
        found = -((n + 2 * low - k) // -s) + 1
        if (found - 1) * s >= n + low:  # the last window starts inside the plane or in front of it
            found -= 1
        if found != size:
            return False
    return True


def _window_attributes(
    step: LoweringStep, window: Window, plane: Sequence[int], pooled: tuple[int, ...]
) -> dict[str, Any]:
    divisor = np.broadcast_to(np.asarray(step.node.pool.divisor), pooled)
    area = math.prod(window.kernel)
    whole = window.kernel == tuple(plane) and not any(map(any, window.padding))
    overhang = any(high != low for low, high in window.padding)
    counts_all = bool(np.all(divisor == area))
    override = -1
    if not counts_all and np.all(divisor == divisor.reshape(-1)[0]) and not any(map(any, window.padding)):
        override = int(divisor.reshape(-1)[0])
    return {
        "kernel_shape": list(window.kernel),
        "strides": list(window.kernel if whole else window.strides),
        "pads": [low for low, _ in window.padding] * 2,
        "ceil_mode": int(overhang),
        "count_include_pad": int(counts_all or override > 0),
        "divisor_override": override,
    }
