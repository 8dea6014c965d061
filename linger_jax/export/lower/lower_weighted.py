"""Batch normalization, layer normalization and embedding tables; what all layers with weights share."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from linger_jax.compat import equations
from linger_jax.export.lower.emitter import stored
from linger_jax.export.lower.exported_values import (
    ExportedValue,
    Grid,
    HostValue,
    TensorValue,
    channels_first,
    flax_order,
)
from linger_jax.export.lower.lowering_step import LoweringStep, lowers
from linger_jax.export.onnx import integers_constant, shape_constant
from linger_jax.kinds import BATCH_NORM, BIAS_BITS, EMBED, LAYER_NORM
from linger_jax.kinds import onnx_operators as ops
from linger_jax.numerics.normalization import EXECUTOR_ROWS, KERNEL_ROWS, RowArithmetic
from linger_jax.plan import Node
from linger_jax.plan.graph import ROWS

INPUT = "input_quantizer"


def weight_grid(step: LoweringStep) -> Grid:
    """Where a layer's weight lies."""
    return step.emit.visit.grid(step.weight_quantizer_path)


def weight_name(step: LoweringStep, parameter: str) -> str:
    """Name of an initializer: the weight of a tied table has one name wherever it is read."""
    path, quantizer = step.node.layer_info.path, step.weight_quantizer_path
    if parameter == "weight":
        path = quantizer[:-1]
    return step.emit.parameter_name(path, parameter, quantizer)


def weight_attributes(step: LoweringStep, x: TensorValue, output: Grid) -> dict[str, Any]:
    """Attributes of a node with a weight (docs/specification/onnx_export.md section 3, [act] and [par])."""
    weight = weight_grid(step)
    return {**step.emit.act(step.node, x, output), "w_bits": weight.bits, "scale_w": weight.scale}


def reshaped(step: LoweringStep, value: TensorValue, shape: tuple[int, ...]) -> TensorValue:
    """A value in Flax's order with another shape."""
    constant = shape_constant(step.emit.graph, shape)
    value = step.emit.in_flax_order(value)
    return step.emit.moved(
        ops.RESHAPE, value, {}, [constant], shape=shape, axes=flax_order(len(shape)), image=False, order=None
    )


def reads_channels_last(node: Node) -> bool:
    """Whether a convolution outside known layers reads its input with Flax's order of axes."""
    specs = [e.params["dimension_numbers"].lhs_spec for e in equations(node.float_jaxpr) if "conv_" in e.primitive.name]
    return bool(specs) and specs[0] == channels_first(len(specs[0]))


def padded(step: LoweringStep, x: TensorValue, amounts: Sequence[tuple[int, int]], fill: float = 0.0) -> TensorValue:
    """Constant padding; amounts per Flax axis."""
    shape = tuple(n + low + high for n, (low, high) in zip(x.shape, amounts, strict=True))
    pads = [amounts[axis][0] for axis in x.axes] + [amounts[axis][1] for axis in x.axes]
    inputs = [
        integers_constant(step.emit.graph, "pads", pads),
        step.emit.graph.constant(f"fill_{fill}", np.asarray(fill, np.float32)),
    ]
    return step.emit.moved(ops.PAD, x, {"mode": "constant"}, inputs, shape=shape)


@lowers(BATCH_NORM)
def batch_norm(step: LoweringStep) -> Sequence[ExportedValue]:
    """``QBatchNorm1d``, ``QBatchNorm2d``: the folded scale and shift."""
    if step.node.layer_info.attributes["training"]:
        raise step.error(
            "it normalizes by the statistics of the batch; export the evaluation (use_running_average=True, "
            "train=False or the like)"
        )
    record = step.emit.visit
    x = step.quantized(0, INPUT)
    x = step.emit.as_image(x) if x.rank > 2 else x
    output = step.emit.output_grid(step.node)
    assert x.grid is not None
    alpha = record.steps(step.weight_quantizer_path).reshape(-1)
    beta = record.bias_steps(step.quantizer_path("bias_quantizer"), x.grid.scale * weight_grid(step).scale).reshape(-1)
    if x.order is not None:
        alpha, beta = alpha[x.order], beta[x.order]
    inputs = [
        x.tensor,
        step.emit.graph.constant(weight_name(step, "_export_weight"), stored(alpha, weight_grid(step).bits)),
        step.emit.graph.constant(weight_name(step, "_export_bias"), stored(beta, BIAS_BITS)),
    ]
    operator = ops.QBATCH_NORM2D if x.rank == 4 else ops.QBATCH_NORM1D
    y = step.emit.integers(operator, inputs, output, x, attributes=weight_attributes(step, x, output), node=step.node)
    return [y, *(HostValue(np.zeros(0, np.float32)) for _ in step.node.outputs[1:])]


@lowers(EMBED)
def embed(step: LoweringStep) -> Sequence[ExportedValue]:
    """``linger::Gather``: the table first."""
    weight = weight_grid(step)
    table = step.emit.visit.steps(step.weight_quantizer_path)
    ids = step.emit.in_flax_order(step.tensor(0))
    tensor = step.emit.graph.constant(weight_name(step, "weight"), stored(table, weight.bits))
    shape = step.shape()
    return [
        step.emit.integers(
            ops.TABLE_GATHER,
            [tensor, ids.tensor],
            weight,
            dataclasses.replace(ids, shape=shape, axes=flax_order(len(shape)), dtype=np.dtype(np.float32)),
            attributes={"scale_w": weight.scale, "w_bits": weight.bits},
            node=step.node,
        )
    ]


@lowers(LAYER_NORM)
def layer_norm(step: LoweringStep) -> Sequence[ExportedValue]:
    """``QLayerNorm`` over trailing axes, or ``LayerNormInt``; biases on the grid of normalized value times weight."""
    arithmetic: RowArithmetic = step.node.attributes[ROWS]
    x = step.emit.in_flax_order(step.quantized(0, INPUT))
    if x.order is not None:
        raise step.error("a flattened image enters a LayerNorm")
    weight, output = weight_grid(step), step.emit.output_grid(step.node)
    gamma = step.emit.visit.steps(step.weight_quantizer_path)
    shape = x.shape[x.rank - step.node.layer_info.attributes["axes"] :]
    inputs = [
        x.tensor,
        step.emit.graph.constant(weight_name(step, "weight"), stored(gamma.reshape(shape), weight.bits)),
    ]
    bias = step.by_role().get(("params", "bias"))
    if isinstance(bias, HostValue):
        steps = step.emit.visit.added_bias(step.quantizer_path("bias_quantizer"))
        inputs.append(step.emit.graph.constant(weight_name(step, "bias"), stored(steps.reshape(shape), BIAS_BITS)))
    elif arithmetic is EXECUTOR_ROWS:
        inputs.append(step.emit.graph.constant(weight_name(step, "bias"), np.zeros(shape, np.int32)))
    attributes = {**weight_attributes(step, x, output), **_ROW_ATTRIBUTES[arithmetic]}
    return [step.emit.integers(_ROW_OPERATORS[arithmetic], inputs, output, x, attributes=attributes, node=step.node)]


_ROW_OPERATORS = {KERNEL_ROWS: ops.QLAYER_NORM, EXECUTOR_ROWS: ops.LAYER_NORM_INT}
_ROW_ATTRIBUTES = {KERNEL_ROWS: {"scale_y_normal": KERNEL_ROWS.one}, EXECUTOR_ROWS: {}}
