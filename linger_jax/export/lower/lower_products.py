"""Layers whose core is a product with a parameter: Dense, convolutions, einsum, and products outside layers.

Source: docs/decisions.md D23.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from linger_jax.export.lower.emitter import stored
from linger_jax.export.lower.exported_values import ExportedValue, TensorValue, channels_first, flax_order
from linger_jax.export.lower.lower_moves import structural
from linger_jax.export.lower.lower_operators import joined, of_plane, two_operands
from linger_jax.export.lower.lower_weighted import (
    INPUT,
    padded,
    reshaped,
    weight_attributes,
    weight_grid,
    weight_name,
)
from linger_jax.export.lower.lowering_step import LoweringStep, lowers
from linger_jax.export.lower.parameter_product import ParameterProduct, moved_by, parameter_product
from linger_jax.export.onnx import index_constant
from linger_jax.kinds import BIAS_BITS, CONV, CONV_TRANSPOSE, CUSTOM_CONV, CUSTOM_LINEAR, DENSE, EINSUM
from linger_jax.kinds import onnx_operators as ops
from linger_jax.typing import HostArray


@lowers(DENSE, EINSUM, CONV, CONV_TRANSPOSE, CUSTOM_LINEAR, CUSTOM_CONV)
def product(step: LoweringStep) -> Sequence[ExportedValue]:
    """The nodes of a layer with one product.

    Raises:
      ExportError: the layer computes something besides that no node says.
    """
    x = step.quantized(0, INPUT)
    found = parameter_product(step, x, lambda inner, value: structural(inner))
    rule = _matrix_product if found.equation.primitive.name == "dot_general" else _convolution
    y = rule(step, found)
    for equation in found.behind:
        (y,) = moved_by(step, equation, y, (), lambda inner, value: structural(inner))  # type: ignore[assignment]
    if y.shape != step.shape():
        raise step.error(f"its result has shape {step.shape()}, its product {y.shape}")
    return [y]


def _weight(step: LoweringStep, indices: HostArray) -> HostArray:
    """Integers of the weight, as the product sees them."""
    return step.emit.visit.steps(step.weight_quantizer_path).reshape(-1)[indices]


def _bias(step: LoweringStep, x: TensorValue, found: ParameterProduct, axes: Sequence[int]) -> HostArray | None:
    """Integers of the bias on the accumulator's grid, over some axes of the product; None without a bias.

    Raises:
      ExportError: it varies along other axes.
    """
    if found.bias is None:
        return None
    assert x.grid is not None
    steps = step.emit.visit.bias_steps(step.quantizer_path("bias_quantizer"), x.grid.scale * weight_grid(step).scale)
    others = [axis for axis in range(len(found.shape)) if axis not in axes]
    first = np.broadcast_to(found.bias, found.shape).transpose(*others, *axes)[(0,) * len(others)]
    return steps.reshape(-1)[first]


def _inputs(step: LoweringStep, x: TensorValue, weight: HostArray, bias: HostArray | None) -> list[str]:
    tensors = [x.tensor, step.emit.graph.constant(weight_name(step, "weight"), stored(weight, weight_grid(step).bits))]
    if bias is not None:
        tensors.append(step.emit.graph.constant(weight_name(step, "bias"), stored(bias.reshape(-1), BIAS_BITS)))
    return tensors


# --- matrix products -----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Axes:
    """Axes of a ``dot_general`` by what they are, for the input x and the weight w; ``y``: of the result."""

    x_batch: tuple[int, ...]
    x_free: tuple[int, ...]
    x_summed: tuple[int, ...]
    w_batch: tuple[int, ...]
    w_free: tuple[int, ...]
    w_summed: tuple[int, ...]
    y_batch: tuple[int, ...]
    y_x: tuple[int, ...]
    y_w: tuple[int, ...]


def _axes(found: ParameterProduct) -> _Axes:
    (left, right), (left_batch, right_batch) = found.equation.params["dimension_numbers"]
    summed, batch = (left, right), (left_batch, right_batch)
    mine, its = (0, 1) if found.x_is_left else (1, 0)
    x_free = tuple(a for a in range(found.x.rank) if a not in (*summed[mine], *batch[mine]))
    w_free = tuple(a for a in range(found.weight.ndim) if a not in (*summed[its], *batch[its]))
    count = len(left_batch)
    first, second = (x_free, w_free) if found.x_is_left else (w_free, x_free)
    of_first = tuple(range(count, count + len(first)))
    of_second = tuple(range(count + len(first), count + len(first) + len(second)))
    y_x, y_w = (of_first, of_second) if found.x_is_left else (of_second, of_first)
    return _Axes(
        *(tuple(batch[mine]), x_free, tuple(summed[mine])),
        *(tuple(batch[its]), w_free, tuple(summed[its])),
        *(tuple(range(count)), y_x, y_w),
    )


def _matrix_product(step: LoweringStep, found: ParameterProduct) -> TensorValue:
    """``QLinear``, or ``QBmm`` with a constant where each batch entry has a weight of its own."""
    a, x = _axes(found), found.x
    weight = _weight(step, found.weight).transpose(*a.w_batch, *a.w_summed, *a.w_free)
    count, terms = len(a.w_batch), math.prod(found.weight.shape[i] for i in a.w_summed)
    batch = weight.shape[:count]
    matrices = weight.reshape(*batch, terms, -1)
    if count and np.array_equal(matrices, np.broadcast_to(matrices[(slice(0, 1),) * count], matrices.shape)):
        matrices, outer = matrices[(0,) * count], (*a.x_batch, *a.x_free)  # one weight, repeated
        bias = _bias(step, x, found, a.y_w)
        y = _linear(step, x, matrices, bias, outer, a.x_summed)
    elif not count:
        y = _linear(step, x, matrices, _bias(step, x, found, a.y_w), a.x_free, a.x_summed)
    else:
        y = _batched(step, found, matrices.reshape(-1, terms, matrices.shape[-1]), a)
    axes = (*a.y_batch, *a.y_x, *a.y_w)
    in_order = tuple(found.shape[axis] for axis in axes)
    y = y if y.shape == in_order else reshaped(step, y, in_order)
    return dataclasses.replace(y, shape=found.shape, axes=axes)


def _linear(
    step: LoweringStep,
    x: TensorValue,
    matrix: HostArray,
    bias: HostArray | None,
    outer: Sequence[int],
    summed: Sequence[int],
) -> TensorValue:
    """Some axes of ``x`` times [terms, features]: the summed ones are brought last and merged."""
    emit, terms = step.emit, matrix.shape[0]
    if x.order is not None:
        if tuple(summed) != (x.rank - 1,):
            raise step.error("it reads a flattened image along another axis than the last")
        matrix = matrix[x.order]
    x = emit.arranged(x, (*outer, *summed))
    sizes = tuple(x.shape[axis] for axis in outer)
    x = dataclasses.replace(x, shape=(*sizes, *(x.shape[axis] for axis in summed)), axes=flax_order(x.rank))
    if len(summed) != 1:
        x = reshaped(step, x, (*sizes, terms))
    output = emit.output_grid(step.node)
    shape = (*sizes, matrix.shape[1])
    return emit.integers(
        ops.QLINEAR,
        _inputs(step, x, matrix.T, bias),
        output,
        dataclasses.replace(x, shape=shape, axes=flax_order(len(shape)), image=False, order=None),
        attributes=weight_attributes(step, x, output),
        node=step.node,
    )


def _batched(step: LoweringStep, found: ParameterProduct, matrices: HostArray, a: _Axes) -> TensorValue:
    """A matrix for each batch entry; with a bias one ``QLinear`` for each, since ``QBmm`` has none."""
    emit, x = step.emit, found.x
    if x.order is not None:
        raise step.error("a flattened image enters a product with a batch of weights")
    order = (*a.x_batch, *a.x_free, *a.x_summed)
    sizes = tuple(x.shape[axis] for axis in order)
    x = emit.arranged(x, order)
    x = dataclasses.replace(x, shape=sizes, axes=flax_order(x.rank), image=False)
    count, terms, features = matrices.shape
    whole = (count, math.prod(found.x.shape[axis] for axis in a.x_free), terms)
    x = x if x.shape == whole else reshaped(step, x, whole)
    bias = _bias(step, x, found, (*a.y_batch, *a.y_w))
    if bias is None:
        grid = weight_grid(step)
        tensor = emit.graph.constant(weight_name(step, "weight"), stored(matrices, grid.bits))
        y = TensorValue(tensor, matrices.shape, flax_order(3), np.dtype(np.float32), grid)
        return two_operands(step, ops.QBMM, x, y, x.laid((*whole[:2], features), flax_order(3)))
    parts = []
    for i, (matrix, steps) in enumerate(zip(matrices, bias.reshape(count, -1), strict=True)):
        index = index_constant(emit.graph, i)
        part = emit.moved(ops.GATHER, x, {"axis": 0}, [index], shape=whole[1:], axes=flax_order(2))
        y = _linear(step, part, matrix, steps, (0,), (1,))
        shape = (1, *y.shape)
        parts.append(emit.moved(ops.UNSQUEEZE, y, {"axes": [0]}, shape=shape, axes=flax_order(3)))
    return joined(step, parts, 0, emit.output_grid(step.node), (*whole[:2], features))


# --- convolutions --------------------------------------------------------------------------------------------------


def _convolution(step: LoweringStep, found: ParameterProduct) -> TensorValue:
    """``QConv1d``, ``QConv2d``, or their transposed forms where zeros are put between the input's elements."""
    p = found.equation.params
    numbers = p["dimension_numbers"]
    if not found.x_is_left:
        raise step.error("the parameter is what the convolution runs over; write it as the kernel")
    x = step.emit.arranged(found.x, tuple(numbers.lhs_spec))
    weight = _weight(step, found.weight).transpose(numbers.rhs_spec)
    bias = _bias(step, x, found, (numbers.out_spec[1],))
    stretched = any(int(d) != 1 for d in p["lhs_dilation"])
    # A transposed convolution of stride 1 is one where the layer says so: linger has two layers.
    if stretched or step.node.kind == CONV_TRANSPOSE:
        weight, attributes = _transposed(step, weight, p)
        operator = of_plane(step, weight.ndim - 2, ops.QCONV_TRANSPOSE1D, ops.QCONV_TRANSPOSE2D)
    else:
        x, attributes = _forward(step, x, p)
        operator = of_plane(step, weight.ndim - 2, ops.QCONV1D, ops.QCONV2D)
    output = step.emit.output_grid(step.node)
    axes = tuple(numbers.out_spec)
    return step.emit.integers(
        operator,
        _inputs(step, x, weight, bias),
        output,
        dataclasses.replace(x, shape=found.shape, axes=axes, image=axes == channels_first(len(axes))),
        attributes={
            **weight_attributes(step, x, output),
            **attributes,
            "kernel_shape": list(weight.shape[2:]),
            "dilations": [int(d) for d in p["rhs_dilation"]],
            "group": int(p["feature_group_count"]),
        },
        node=step.node,
    )


def _forward(step: LoweringStep, x: TensorValue, p: Mapping[str, Any]) -> tuple[TensorValue, dict[str, Any]]:
    """A Pad node in front where the two ends of an axis are padded differently (docs/decisions.md D18)."""
    padding = [(int(low), int(high)) for low, high in p["padding"]]
    if any(low != high for low, high in padding):
        x = padded(step, x, _amounts(x, padding))
        padding = [(0, 0)] * len(padding)
    return x, {
        "strides": [int(s) for s in p["window_strides"]],
        "pads": [low for low, _ in padding] + [high for _, high in padding],
    }


def _amounts(x: TensorValue, padding: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Padding of the plane by Flax axis; ``x`` lies channels-first."""
    amounts = [(0, 0)] * x.rank
    for axis, pair in zip(x.axes[2:], padding, strict=True):
        amounts[axis] = pair
    return amounts


def _transposed(step: LoweringStep, weight: HostArray, p: Mapping[str, Any]) -> tuple[HostArray, dict[str, Any]]:
    """``pads`` crop the output; weights: [in, out / group, window...]."""
    if any(int(s) != 1 for s in p["window_strides"]):
        raise step.error("a convolution with strides and with zeros between its input's elements has no form in a file")
    groups = int(p["feature_group_count"])
    reach = [int(d) * (k - 1) for d, k in zip(p["rhs_dilation"], weight.shape[2:], strict=True)]
    near = [r - int(low) for r, (low, _) in zip(reach, p["padding"], strict=True)]
    extra = [max(0, int(high) - int(low)) for low, high in p["padding"]]
    far = [r - int(high) + e for r, (_, high), e in zip(reach, p["padding"], extra, strict=True)]
    if min(*near, *far) < 0:
        raise step.error(f"padding {p['padding']} has no form in a file: an end may add at most kernel - 1 elements")
    grouped = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
    flipped = np.flip(np.swapaxes(grouped, 1, 2), axis=tuple(range(3, grouped.ndim)))
    attributes = {
        "strides": [int(s) for s in p["lhs_dilation"]],
        "pads": near + far,
        "output_padding": extra,
    }
    return flipped.reshape(-1, *flipped.shape[2:]), attributes
