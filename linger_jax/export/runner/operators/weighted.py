"""Linear, convolutions, transposed convolutions, batch normalization and table look-up on stored integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import lax

from linger_jax.export.runner.integer_tensor import Array, IntegerTensor, Value, fraction_bits
from linger_jax.export.runner.operators.call import Call, Rule
from linger_jax.export.runner.requantize import requantize
from linger_jax.numerics import wide
from linger_jax.numerics.integer_product import Product, integer_product

BIAS_BITS = 32
HostIntegers = npt.NDArray[np.integer]


def linear(call: Call) -> Sequence[Value]:
    """``QLinear``: the last axis times [out, in]."""
    x, weight = call.tensor(0), call.parameter(1, call.node.integer("w_bits"))
    contract = (((x.value.ndim - 1,), (1,)), ((), ()))

    def product(a: Array, b: Array) -> Array:
        return lax.dot_general(a, b, contract, precision=lax.Precision.HIGHEST)

    with wide.region():
        total = integer_product(
            product,
            x.value,
            weight.astype(np.int32),
            x_bits=x.bits,
            y_bits=call.node.integer("w_bits"),
            terms=weight.shape[1],
            contracted=weight.shape[1],
            cut_x=lambda v, start, stop: lax.slice_in_dim(v, start, stop, axis=v.ndim - 1),
            cut_y=lambda v, start, stop: lax.slice_in_dim(v, start, stop, axis=1),
            magnitude=np.abs(weight.astype(np.int64)).max(axis=0, initial=0),
        )
    return [_finish(call, x, total, channel_axis=x.value.ndim - 1)]


def convolution(call: Call) -> Sequence[Value]:
    """``QConv1d``, ``QConv2d``: [N, C, plane...] and [out, in / group, window...]."""
    node, x, weight = call.node, call.tensor(0), call.parameter(1, call.node.integer("w_bits"))
    axes = weight.ndim - 2
    begin, end = _pads(node.integers("pads"), axes)
    letters = "DHW"[-axes:]

    def product(a: Array, b: Array) -> Array:
        return lax.conv_general_dilated(
            a,
            b,
            node.integers("strides"),
            list(zip(begin, end, strict=True)),
            rhs_dilation=node.integers("dilations"),
            dimension_numbers=(f"NC{letters}", f"OI{letters}", f"NC{letters}"),
            feature_group_count=node.integer("group"),
            precision=lax.Precision.HIGHEST,
        )

    total = _convolved(call, product, x, weight.astype(np.int32))
    return [_finish(call, x, total, channel_axis=1)]


def transposed_convolution(call: Call) -> Sequence[Value]:
    """``QConvTranspose1d``, ``QConvTranspose2d``: [in, out / group, window...]; ``pads`` crop the output."""
    node, x, stored = call.node, call.tensor(0), call.parameter(1, call.node.integer("w_bits"))
    axes, groups = stored.ndim - 2, node.integer("group")
    begin, end = _pads(node.integers("pads"), axes)
    extra = node.integers("output_padding", (0,) * axes)
    reach = [d * (k - 1) for d, k in zip(node.integers("dilations"), stored.shape[2:], strict=True)]
    padding = [(r - b, r - e + o) for r, b, e, o in zip(reach, begin, end, extra, strict=True)]
    letters = "DHW"[-axes:]
    # To the kernel of the equivalent forward convolution: flipped, [out, in / group, window...].
    grouped = stored.reshape(groups, stored.shape[0] // groups, *stored.shape[1:])
    flipped = np.flip(np.swapaxes(grouped, 1, 2), axis=tuple(range(3, 3 + axes)))
    weight = flipped.reshape(-1, *flipped.shape[2:]).astype(np.int32)

    def product(a: Array, b: Array) -> Array:
        return lax.conv_general_dilated(
            a,
            b,
            (1,) * axes,
            padding,
            lhs_dilation=node.integers("strides"),
            rhs_dilation=node.integers("dilations"),
            dimension_numbers=(f"NC{letters}", f"OI{letters}", f"NC{letters}"),
            feature_group_count=groups,
            precision=lax.Precision.HIGHEST,
        )

    return [_finish(call, x, _convolved(call, product, x, weight), channel_axis=1)]


def _convolved(call: Call, product: Product, x: IntegerTensor, weight: HostIntegers) -> Array:
    groups, channels = call.node.integer("group"), weight.shape[1]

    def cut_x(v: Array, start: int, stop: int) -> Array:
        if (start, stop) == (0, channels):
            return v
        grouped = v.reshape(v.shape[0], groups, channels, *v.shape[2:])
        piece = lax.slice_in_dim(grouped, start, stop, axis=2)
        return piece.reshape(v.shape[0], -1, *v.shape[2:])

    window = tuple(range(2, weight.ndim))
    with wide.region():
        return integer_product(
            product,
            x.value,
            weight,
            x_bits=x.bits,
            y_bits=call.node.integer("w_bits"),
            terms=int(np.prod(weight.shape[1:])),
            contracted=channels,
            cut_x=cut_x,
            cut_y=lambda v, start, stop: lax.slice_in_dim(v, start, stop, axis=1),
            magnitude=np.abs(weight.astype(np.int64)).sum(axis=window).max(axis=0, initial=0),
        )


def batch_norm(call: Call) -> Sequence[Value]:
    """``QBatchNorm1d``, ``QBatchNorm2d``: alpha * x + beta on axis 1."""
    x, alpha = call.tensor(0), call.parameter(1, call.node.integer("w_bits"))
    with wide.region():
        factor = jnp.asarray(alpha.astype(np.int64)).reshape(1, -1, *(1,) * (x.value.ndim - 2))
        total = wide.of(x.value) * factor
    return [_finish(call, x, total, channel_axis=1)]


def look_up(call: Call) -> Sequence[Value]:
    """``linger::Gather``: rows of a quantized table; the table comes first."""
    table = call.parameter(0, call.node.integer("w_bits"))
    rows = jnp.take(jnp.asarray(table.astype(np.int32)), call.plain(1), axis=0, mode="clip")
    return [IntegerTensor(rows, call.node.scale("scale_w"), call.node.integer("w_bits"))]


def _finish(call: Call, x: IntegerTensor, total: Array, channel_axis: int) -> IntegerTensor:
    """Adds the bias and re-rounds to the output's grid.

    The bias lies at ``scale_x * scale_w``. That is the accumulator's grid, except behind a recurrent layer that
    declares another scale than its values have: then the coarser of the two is brought to the finer grid, exactly.
    """
    node = call.node
    weight_scale = node.scale("scale_w")
    scale, bias_scale = x.scale * weight_scale, node.scale("scale_x") * weight_scale
    bias = call.constant(2, BIAS_BITS)
    with wide.region():
        if bias is not None:
            finer = max(scale, bias_scale)
            shape = [1] * total.ndim
            shape[channel_axis] = -1
            steps = bias.astype(np.int64) << (fraction_bits(finer) - fraction_bits(bias_scale))
            total = (total << jnp.int64(fraction_bits(finer) - fraction_bits(scale))) + jnp.asarray(
                steps.reshape(shape)
            )
            scale = finer
        return requantize(total, scale, node.scale("scale_o"), node.integer("o_bits"), node.round_mode)


def _pads(pads: tuple[int, ...], axes: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Begin and end of each axis: a file lists all begins, then all ends."""
    return pads[:axes], pads[axes:] or pads[:axes]


RULES: Mapping[str, Rule] = {
    "linger::QLinear": linear,
    "linger::QConv1d": convolution,
    "linger::QConv2d": convolution,
    "linger::QConvTranspose1d": transposed_convolution,
    "linger::QConvTranspose2d": transposed_convolution,
    "linger::QBatchNorm1d": batch_norm,
    "linger::QBatchNorm2d": batch_norm,
    "linger::Gather": look_up,
}
