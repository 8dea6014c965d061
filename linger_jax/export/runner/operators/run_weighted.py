"""Linear, convolutions, transposed convolutions, batch normalization and table look-up on stored integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from linger_jax.config import RoundMode
from linger_jax.export.runner.integer_tensor import IntegerTensor, Value, fraction_bits
from linger_jax.export.runner.operators.node_call import Call, RunRule
from linger_jax.kinds import BIAS_BITS, OnnxOperator
from linger_jax.kinds import onnx_operators as ops
from linger_jax.numerics import Accumulator
from linger_jax.numerics.convolution import integer_convolution
from linger_jax.numerics.products import contraction

HostIntegers = npt.NDArray[np.integer]


def linear(call: Call) -> Sequence[Value]:
    """``QLinear``: the last axis times [out, in]."""
    x, bits = call.tensor(0), call.node.integer("w_bits")
    last = x.value.ndim - 1
    total = contraction(x.value, call.parameter(1, bits), (((last,), (1,)), ((), ())), x_bits=x.bits, y_bits=bits)
    return [_finish(call, x, total, channel_axis=last)]


def convolution(call: Call) -> Sequence[Value]:
    """``QConv1d``, ``QConv2d``: [N, C, plane...] and [out, in / group, window...]."""
    node = call.node
    weight = call.parameter(1, node.integer("w_bits"))
    begin, end = _pads(node.integers("pads"), weight.ndim - 2)
    return [
        _convolved(call, weight, window_strides=node.integers("strides"), padding=list(zip(begin, end, strict=True)))
    ]


def transposed_convolution(call: Call) -> Sequence[Value]:
    """``QConvTranspose1d``, ``QConvTranspose2d``: [in, out / group, window...]; ``pads`` crop the output."""
    node = call.node
    stored = call.parameter(1, node.integer("w_bits"))
    axes, groups = stored.ndim - 2, node.integer("group")
    begin, end = _pads(node.integers("pads"), axes)
    extra = node.integers("output_padding", (0,) * axes)
    reach = [d * (k - 1) for d, k in zip(node.integers("dilations"), stored.shape[2:], strict=True)]
    padding = [(r - b, r - e + o) for r, b, e, o in zip(reach, begin, end, extra, strict=True)]
    # To the kernel of the equivalent forward convolution: flipped, [out, in / group, window...].
    grouped = stored.reshape(groups, stored.shape[0] // groups, *stored.shape[1:])
    flipped = np.flip(np.swapaxes(grouped, 1, 2), axis=tuple(range(3, 3 + axes)))
    weight = flipped.reshape(-1, *flipped.shape[2:])
    strides = node.integers("strides")
    return [_convolved(call, weight, window_strides=(1,) * axes, padding=padding, lhs_dilation=strides)]


def _convolved(call: Call, weight: HostIntegers, **window: Any) -> IntegerTensor:
    node, x, letters = call.node, call.tensor(0), "DHW"[-(weight.ndim - 2) :]
    total = integer_convolution.convolution(
        x.value,
        weight,
        rhs_dilation=node.integers("dilations"),
        dimension_numbers=(f"NC{letters}", f"OI{letters}", f"NC{letters}"),
        feature_group_count=node.integer("group"),
        x_bits=x.bits,
        w_bits=node.integer("w_bits"),
        **window,
    )
    return _finish(call, x, total, channel_axis=1)


def batch_norm(call: Call) -> Sequence[Value]:
    """``QBatchNorm1d``, ``QBatchNorm2d``: alpha * x + beta on axis 1."""
    x, bits = call.tensor(0), call.node.integer("w_bits")
    alpha = call.parameter(1, bits).reshape(1, -1, *(1,) * (x.value.ndim - 2))
    return [_finish(call, x, x.accumulator() * Accumulator.of(alpha, _largest(alpha)), channel_axis=1)]


def look_up(call: Call) -> Sequence[Value]:
    """``linger::Gather``: rows of a quantized table, or the results of a function; the table comes first."""
    table = call.parameter(0, call.node.integer("w_bits"))
    rows = jnp.take(jnp.asarray(table.astype(np.int32)), call.indices(1), axis=0, mode="clip")
    return [IntegerTensor(rows, call.node.scale("scale_w"), call.node.integer("w_bits"))]


def _finish(call: Call, x: IntegerTensor, total: Accumulator, channel_axis: int) -> IntegerTensor:
    """Adds the bias and re-rounds to the output's grid.

    The bias lies at ``scale_x * scale_w``. That is the accumulator's grid, except behind a recurrent layer that
    declares another scale than its values have: then the coarser of the two is brought to the finer grid, exactly.
    """
    node = call.node
    weight_scale = node.scale("scale_w")
    scale, bias_scale = x.scale * weight_scale, node.scale("scale_x") * weight_scale
    bias = call.constant(2, BIAS_BITS)
    if bias is not None:
        shape = [1] * total.value.ndim
        shape[channel_axis] = -1
        finer = max(scale, bias_scale)
        steps = Accumulator.of(bias.reshape(shape), _largest(bias))
        total = total.shifted(fraction_bits(scale) - fraction_bits(finer), RoundMode.floor) + steps.shifted(
            fraction_bits(bias_scale) - fraction_bits(finer), RoundMode.floor
        )
        scale = finer
    return call.on_result_grid(total, scale)


def _largest(values: HostIntegers) -> int:
    """Largest magnitude."""
    return int(np.abs(values.astype(np.int64)).max(initial=0))


def _pads(pads: tuple[int, ...], axes: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Begin and end of each axis: a file lists all begins, then all ends."""
    return pads[:axes], pads[axes:] or pads[:axes]


RULES: Mapping[OnnxOperator, RunRule] = {
    ops.QLINEAR: linear,
    ops.QCONV1D: convolution,
    ops.QCONV2D: convolution,
    ops.QCONV_TRANSPOSE1D: transposed_convolution,
    ops.QCONV_TRANSPOSE2D: transposed_convolution,
    ops.QBATCH_NORM1D: batch_norm,
    ops.QBATCH_NORM2D: batch_norm,
    ops.TABLE_GATHER: look_up,
}
