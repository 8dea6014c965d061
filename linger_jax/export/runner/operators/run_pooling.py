"""Maximum and average pooling."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import lax

from linger_jax.export.runner.integer_tensor import IntegerTensor, Value, limits
from linger_jax.export.runner.operators.node_call import Call, RunRule
from linger_jax.kinds import OnnxOperator
from linger_jax.kinds import onnx_operators as ops
from linger_jax.numerics.pooling import divide

Pairs = list[tuple[int, int]]


def maximum(call: Call) -> Sequence[Value]:
    """``MaxPool``: padding never wins."""
    x, node = call.optional(0), call.node
    value = x.value if isinstance(x, IntegerTensor) else call.plain(0)
    kernel = node.integers("kernel_shape")
    axes = len(kernel)
    dilation = node.integers("dilations", (1,) * axes)
    stride = node.integers("strides", (1,) * axes)
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    padding = _padding(call, value.shape[2:], reach, stride)
    lowest = np.array(-np.inf if jnp.issubdtype(value.dtype, jnp.floating) else jnp.iinfo(value.dtype).min, value.dtype)
    y = lax.reduce_window(
        value, lowest, lax.max, (1, 1, *kernel), (1, 1, *stride), [(0, 0), (0, 0), *padding], None, (1, 1, *dilation)
    )
    return [x.holds(y) if isinstance(x, IntegerTensor) else y]


def average(call: Call) -> Sequence[Value]:
    """``QAvgPool1d``, ``QAvgPool2d``: window sums and the chip's integer division.

    Source: docs/specification/layers.md section 9.
    """
    x, node = call.tensor(0), call.node
    kernel, stride = node.integers("kernel_shape"), node.integers("strides")
    padding = _padding(call, x.value.shape[2:], kernel, stride)
    total = _window_sums(x.value, kernel, stride, padding)
    call.require_size(total.size)
    return [_divided(call, x, total, _divisors(call, x.value.shape[2:], kernel, stride, padding))]


def whole_plane(call: Call) -> Sequence[Value]:
    """``QGlobalAveragePool2d``: all cells of the plane."""
    x = call.tensor(0)
    plane = tuple(range(2, x.value.ndim))
    total = jnp.sum(x.value, plane, dtype=jnp.int32, keepdims=True)
    return [_divided(call, x, total, math.prod(x.value.shape[2:]))]


def _divided(call: Call, x: IntegerTensor, total: jnp.ndarray, divisor: npt.ArrayLike) -> IntegerTensor:
    node = call.node
    scale, bits = node.scale("scale_o"), node.integer("o_bits")
    quotient = divide(total, divisor, jnp.float32(x.scale), jnp.float32(scale), node.platform, node.round_mode)
    least, most = limits(bits)
    return IntegerTensor(jnp.clip(quotient, jnp.int32(least), jnp.int32(most)), scale, bits)


def _window_sums(value: jnp.ndarray, kernel: Sequence[int], stride: Sequence[int], padding: Pairs) -> jnp.ndarray:
    return lax.reduce_window(value, np.int32(0), lax.add, (1, 1, *kernel), (1, 1, *stride), [(0, 0), (0, 0), *padding])


def _divisors(
    call: Call, plane: Sequence[int], kernel: Sequence[int], stride: Sequence[int], padding: Pairs
) -> npt.NDArray[np.int64] | int:
    """Cells that each position divides by: given, the whole window, or the cells inside the plane."""
    override = call.node.integer("divisor_override", -1)
    if override > 0:
        return override
    if call.node.integer("count_include_pad", 1):
        return math.prod(kernel)
    counts = np.ones((1,), np.int64)
    for size, window, step, (begin, end) in zip(plane, kernel, stride, padding, strict=True):
        starts = np.arange(0, size + begin + end - window + 1, step) - begin
        valid = np.minimum(starts + window, size) - np.maximum(starts, 0)
        counts = np.multiply.outer(counts, valid)
    return np.maximum(counts, 1)  # its leading 1 stands for the channel axis


def _padding(call: Call, plane: Sequence[int], reach: Sequence[int], stride: Sequence[int]) -> Pairs:
    """Begin and end of each axis; ``ceil_mode`` lets the last window overhang if it starts inside the padded plane."""
    axes = len(reach)
    pads = call.node.integers("pads", (0,) * 2 * axes)
    pairs: Pairs = []
    for axis in range(axes):
        begin, end = pads[axis], pads[axes + axis] if len(pads) > axes else pads[axis]
        if call.node.integer("ceil_mode", 0):
            size = plane[axis] + begin + end
            steps = math.ceil((size - reach[axis]) / stride[axis])
            if steps * stride[axis] >= plane[axis] + begin:
                steps -= 1
            end += max(0, steps * stride[axis] + reach[axis] - size)
        pairs.append((begin, end))
    return pairs


RULES: Mapping[OnnxOperator, RunRule] = {
    ops.MAX_POOL: maximum,
    ops.QAVG_POOL1D: average,
    ops.QAVG_POOL2D: average,
    ops.QGLOBAL_AVERAGE_POOL2D: whole_plane,
}
