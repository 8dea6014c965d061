"""Dense, convolutions, batch normalization and embedding tables."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from linger_jax.export.emitter import stored
from linger_jax.export.laid import Exported, Grid, HostArray, Known, Laid, channels_first, natural
from linger_jax.export.lowering.call import Rule, Step
from linger_jax.export.lowering.layer_product import LayerProduct, layer_product

BIAS_BITS = 32
INPUT = "input_quantizer"
NORMALIZED_SCALE = 32768.0
"""Scale of LayerNorm's normalized values."""


def _weight_grid(step: Step) -> Grid:
    path = step.site("weight_quantizer")
    return Grid(step.emit.record.scales[path], step.emit.record.bits(path))


def _name(step: Step, parameter: str) -> str:
    assert step.node.layer is not None
    return ".".join((*step.node.layer.path, parameter))


def _attributes(step: Step, x: Laid, output: Grid) -> dict[str, Any]:
    weight = _weight_grid(step)
    return {**step.emit.act(step.node, x, output), "w_bits": weight.bits, "scale_w": weight.scale}


def _with_bias(step: Step, x: Laid, inputs: list[str]) -> list[str]:
    """Adds the bias, where the layer has one, on the grid of the accumulator."""
    assert x.grid is not None
    assert step.node.layer is not None
    if ("params", "bias") not in step.node.layer.operands:
        return inputs
    scale = x.grid.scale * _weight_grid(step).scale
    bias = step.emit.record.bias_steps(step.site("bias_quantizer"), scale).reshape(-1)
    return [*inputs, step.emit.graph.constant(_name(step, "bias"), stored(bias, BIAS_BITS))]


def dense(step: Step) -> Sequence[Exported]:
    """``QLinear``: the contracted axes are brought last and merged, several feature axes are spread behind it."""
    emit, kernel = step.emit, step.emit.record.steps(step.site("weight_quantizer"))
    x = step.quantized(0, INPUT)
    product = layer_product(step, kernel)
    (contracted, _), _ = product.parameters["dimension_numbers"]
    paired = product.parameters["dimension_numbers"][0]
    in_kernel_order = [int(axis) for _, axis in sorted(zip(paired[1], paired[0], strict=True))]
    terms = math.prod(product.kernel.shape[axis] for axis in paired[1])
    matrix = product.kernel.reshape(terms, -1)  # Flax keeps the contracted axes in front
    outer = [axis for axis in range(x.rank) if axis not in contracted]
    if len(in_kernel_order) == 1 and in_kernel_order[0] == x.rank - 1 and x.order is not None:
        matrix = matrix[x.order]
    elif x.order is not None:
        raise step.error("it reads a flattened image along another axis than the last")
    x = emit.arranged(x, (*outer, *in_kernel_order))
    if len(in_kernel_order) > 1:
        merged = (*(x.shape[a] for a in outer), terms)
        x = reshaped(step, x, merged)
    output = emit.output_grid(step.node)
    weight = emit.graph.constant(_name(step, "weight"), stored(matrix.T, _weight_grid(step).bits))
    features = matrix.shape[1]
    shape = (*(x.shape[: len(outer)]), features)
    y = emit.integers(
        "QLinear",
        _with_bias(step, x, [x.tensor, weight]),
        output,
        dataclasses.replace(x, image=False, order=None),
        attributes=_attributes(step, x, output),
        node=step.node,
        shape=shape,
        axes=natural(len(shape)),
    )
    return [y if y.shape == step.shape() else reshaped(step, y, step.shape())]


def reshaped(step: Step, value: Laid, shape: tuple[int, ...]) -> Laid:
    """A value in Flax's order with another shape."""
    constant = step.emit.graph.constant("shape_" + "x".join(map(str, shape)), np.asarray(shape, np.int64))
    value = step.emit.in_flax_order(value)
    return step.emit.moved(
        "Reshape", value, {}, [constant], shape=shape, axes=natural(len(shape)), image=False, order=None
    )


def convolution(step: Step) -> Sequence[Exported]:
    """``QConv1d``, ``QConv2d``; a Pad node in front where the two ends of an axis are padded differently (D18)."""
    product = layer_product(step, step.emit.record.steps(step.site("weight_quantizer")))
    p = product.parameters
    x = _image_operand(step, product)
    padding = [(int(low), int(high)) for low, high in p["padding"]]
    if any(low != high for low, high in padding):
        x = padded(step, x, [(0, 0), *padding, (0, 0)])
        padding = [(0, 0)] * len(padding)
    attributes = {
        "strides": [int(s) for s in p["window_strides"]],
        "pads": [low for low, _ in padding] + [high for _, high in padding],
    }
    return [_convolved(step, "QConv", product, x, _forward_weight(product), attributes)]


def transposed_convolution(step: Step) -> Sequence[Exported]:
    """``QConvTranspose1d``, ``QConvTranspose2d``: ``pads`` crop the output, weights: [in, out / group, window...]."""
    product = layer_product(step, step.emit.record.steps(step.site("weight_quantizer")))
    p, weight = product.parameters, _forward_weight(product)
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
    x = _image_operand(step, product)
    return [_convolved(step, "QConvTranspose", product, x, flipped.reshape(-1, *flipped.shape[2:]), attributes)]


def _image_operand(step: Step, product: LayerProduct) -> Laid:
    x = step.quantized(0, INPUT)
    if product.input_shape != x.shape:
        raise step.error(f"an input of shape {x.shape} without exactly one batch axis has no form in a file")
    return step.emit.as_image(x)


def _forward_weight(product: LayerProduct) -> HostArray:
    """[out, in / group, window...]."""
    return np.transpose(product.kernel, product.parameters["dimension_numbers"].rhs_spec)


def _convolved(
    step: Step, op: str, product: LayerProduct, x: Laid, weight: HostArray, attributes: Mapping[str, Any]
) -> Laid:
    axes = weight.ndim - 2
    output = step.emit.output_grid(step.node)
    tensor = step.emit.graph.constant(_name(step, "weight"), stored(weight, _weight_grid(step).bits))
    return step.emit.integers(
        f"{op}{axes}d",
        _with_bias(step, x, [x.tensor, tensor]),
        output,
        x,
        attributes={
            **_attributes(step, x, output),
            **attributes,
            "kernel_shape": list(weight.shape[2:]),
            "dilations": [int(d) for d in product.parameters["rhs_dilation"]],
            "group": int(product.parameters["feature_group_count"]),
        },
        node=step.node,
        shape=step.shape(),
        axes=channels_first(axes + 2),
    )


def padded(step: Step, x: Laid, amounts: Sequence[tuple[int, int]], fill: float = 0.0) -> Laid:
    """Constant padding; amounts per Flax axis."""
    shape = tuple(n + low + high for n, (low, high) in zip(x.shape, amounts, strict=True))
    pads = [amounts[axis][0] for axis in x.axes] + [amounts[axis][1] for axis in x.axes]
    inputs = [
        step.emit.graph.constant("pads_" + "_".join(map(str, pads)), np.asarray(pads, np.int64)),
        step.emit.graph.constant(f"fill_{fill}", np.asarray(fill, np.float32)),
    ]
    return step.emit.moved("Pad", x, {"mode": "constant"}, inputs, shape=shape)


def batch_norm(step: Step) -> Sequence[Exported]:
    """``QBatchNorm1d``, ``QBatchNorm2d``: the folded scale and shift."""
    record = step.emit.record
    x = step.quantized(0, INPUT)
    x = step.emit.as_image(x) if x.rank > 2 else x
    output = step.emit.output_grid(step.node)
    assert x.grid is not None
    alpha = record.steps(step.site("weight_quantizer")).reshape(-1)
    beta = record.bias_steps(step.site("bias_quantizer"), x.grid.scale * _weight_grid(step).scale).reshape(-1)
    if x.order is not None:
        alpha, beta = alpha[x.order], beta[x.order]
    inputs = [
        x.tensor,
        step.emit.graph.constant(_name(step, "_export_weight"), stored(alpha, _weight_grid(step).bits)),
        step.emit.graph.constant(_name(step, "_export_bias"), stored(beta, BIAS_BITS)),
    ]
    op = "QBatchNorm2d" if x.rank == 4 else "QBatchNorm1d"
    y = step.emit.integers(op, inputs, output, x, attributes=_attributes(step, x, output), node=step.node)
    return [y, *(Known(np.zeros(0, np.float32)) for _ in step.node.outputs[1:])]


def embed(step: Step) -> Sequence[Exported]:
    """``linger::Gather``: the table first."""
    weight = _weight_grid(step)
    table = step.emit.record.steps(step.site("weight_quantizer"))
    ids = step.emit.in_flax_order(step.laid(0))
    tensor = step.emit.graph.constant(_name(step, "weight"), stored(table, weight.bits))
    shape = step.shape()
    return [
        step.emit.integers(
            "Gather",
            [tensor, ids.tensor],
            weight,
            dataclasses.replace(ids, dtype=np.dtype(np.float32)),
            attributes={"scale_w": weight.scale, "w_bits": weight.bits},
            node=step.node,
            shape=shape,
            axes=natural(len(shape)),
        )
    ]


def layer_norm(step: Step) -> Sequence[Exported]:
    """``QLayerNorm`` over trailing axes; its bias lies at ``32768 * scale_w``."""
    assert step.node.layer is not None
    x = step.emit.in_flax_order(step.quantized(0, INPUT))
    if x.order is not None:
        raise step.error("a flattened image enters a LayerNorm")
    weight, output = _weight_grid(step), step.emit.output_grid(step.node)
    gamma = step.emit.record.steps(step.site("weight_quantizer"))
    shape = x.shape[x.rank - step.node.layer.attributes["axes"] :]
    inputs = [x.tensor, step.emit.graph.constant(_name(step, "weight"), stored(gamma.reshape(shape), weight.bits))]
    bias = step.by_role().get(("params", "bias"))
    if isinstance(bias, Known):
        # From the float bias: the layer has no use for its bias quantizer's state (spec/layers.md section 6).
        unit = np.float32(NORMALIZED_SCALE * weight.scale)
        steps = np.clip(np.rint(bias.array.astype(np.float32) * unit), -(2.0**31), 2.0**31 - 1).astype(np.int64)
        inputs.append(step.emit.graph.constant(_name(step, "bias"), stored(steps.reshape(shape), BIAS_BITS)))
    attributes = {**_attributes(step, x, output), "scale_y_normal": NORMALIZED_SCALE}
    return [step.emit.integers("QLayerNorm", inputs, output, x, attributes=attributes, node=step.node)]


RULES: Mapping[str, Rule] = {
    "dense": dense,
    "conv": convolution,
    "conv_transpose": transposed_convolution,
    "batch_norm": batch_norm,
    "embed": embed,
    "layer_norm": layer_norm,
}
