"""The ways to compute a convolution and its two gradients, next to the stock operator.

Each function is the whole operator for the shapes that ``convolution_rules`` sends to it. Results are sums of the same
products in another order: equal where the sums are exact, to rounding elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.numerics.convolution import depthwise
from linger_jax.numerics.convolution.convolution_shape import ConvShape
from linger_jax.numerics.convolution.lowering_rules import (
    Lowering,
    forward_rule,
    groups_per_block,
    input_gradient_rule,
    weight_gradient_rule,
)
from linger_jax.numerics.pooling import Windows


def forward(c: ConvShape, x: jax.Array, w: jax.Array) -> jax.Array:
    """x [N, *space, C_in], w [*taps, C_in / groups, C_out] -> [N, *out, C_out]."""
    return FORWARD[forward_rule(c)](c, x, w)


def input_gradient(c: ConvShape, w: jax.Array, g: jax.Array) -> jax.Array:
    """w [*taps, C_in / groups, C_out], g [N, *out, C_out] -> [N, *space, C_in]."""
    return INPUT_GRADIENT[input_gradient_rule(c)](c, w, g)


def weight_gradient(c: ConvShape, x: jax.Array, g: jax.Array) -> jax.Array:
    """x [N, *space, C_in], g [N, *out, C_out] -> [*taps, C_in / groups, C_out]."""
    return WEIGHT_GRADIENT[weight_gradient_rule(c)](c, x, g)


def stock_forward(c: ConvShape, x: jax.Array, w: jax.Array) -> jax.Array:
    """What JAX does."""
    return c.stock(x, w)


def stock_input_gradient(c: ConvShape, w: jax.Array, g: jax.Array) -> jax.Array:
    """What JAX does."""
    return jax.linear_transpose(lambda x: c.stock(x, w), jax.ShapeDtypeStruct(c.x, g.dtype))(g)[0]


def stock_weight_gradient(c: ConvShape, x: jax.Array, g: jax.Array) -> jax.Array:
    """What JAX does."""
    return jax.linear_transpose(lambda w: c.stock(x, w), jax.ShapeDtypeStruct(c.w, g.dtype))(g)[0]


def pointwise_forward(c: ConvShape, x: jax.Array, w: jax.Array) -> jax.Array:
    """One tap: a matrix product over channels."""
    (element,) = c.windows.elements(c.windows.pad(x, 0.0))
    return _contract(element, w.reshape(c.inputs, c.outputs), 1, c)


def pointwise_input_gradient(c: ConvShape, w: jax.Array, g: jax.Array) -> jax.Array:
    """One tap: a matrix product over channels, spread by the stride."""
    product = _contract(g, w.reshape(c.inputs, c.outputs).T, 1, c)
    windows = c.windows
    gaps = [stride - 1 for stride in windows.strides]
    spans = [(size - 1) * stride + 1 for size, stride in zip(product.shape, windows.strides, strict=True)]
    axes = zip(c.x, windows.padding, spans, gaps, strict=True)
    places = [(-low, size + low - span, gap) for size, (low, _), span, gap in axes]
    return lax.pad(product, np.float32(0), places)


def pointwise_weight_gradient(c: ConvShape, x: jax.Array, g: jax.Array) -> jax.Array:
    """One tap: a matrix product over examples and space."""
    (element,) = c.windows.elements(c.windows.pad(x, 0.0))
    return _correlate(element, g, c).reshape(c.w)


def even_forward(c: ConvShape, x: jax.Array, w: jax.Array) -> jax.Array:
    """The stock operator with one more input channel, of zeros."""
    none = (0, 0, 0)
    channel = (0, 1, 0)
    wider_x = lax.pad(x, np.float32(0), [*[none] * (x.ndim - 1), channel])
    wider_w = lax.pad(w, np.float32(0), [*[none] * (w.ndim - 2), channel, none])
    return c.with_channels(c.inputs + 1, c.outputs).stock(wider_x, wider_w)


def patches_forward(c: ConvShape, x: jax.Array, w: jax.Array) -> jax.Array:
    """Patches, then a matrix product."""
    return _contract(_patches(c, x), w.reshape(-1, c.outputs), 1, c)


def patches_weight_gradient(c: ConvShape, x: jax.Array, g: jax.Array) -> jax.Array:
    """Patches, then matrix products over examples and space, one for each tap of the kernel's first axis.

    Patches are built with their elements first, [taps * C, N, *out]: the product wants that order, and long runs of
    space are copied instead of a few channels at a time.
    """
    columns = lax.optimization_barrier(jnp.moveaxis(c.windows.pad(x, 0.0), -1, 0))
    windows = Windows(
        dimensions=(1, 1, *c.w[:-2]),
        strides=(1, 1, *c.strides),
        padding=((0, 0),) * x.ndim,
        dilation=(1, 1, *c.dilation),
    )
    elements = windows.elements(columns)
    per_product = c.taps // c.w[0] if len(c.strides) > 1 else c.taps
    products = []
    for start in range(0, c.taps, per_product):
        patches = lax.optimization_barrier(lax.concatenate(elements[start : start + per_product], 0))
        shared = (tuple(range(1, x.ndim)), tuple(range(x.ndim - 1)))
        products.append(lax.dot_general(patches, g, (shared, ((), ())), precision=c.precision))
    return lax.concatenate(products, 0).reshape(c.w)


def explicit_padding_input_gradient(c: ConvShape, w: jax.Array, g: jax.Array) -> jax.Array:
    """The stock gradient of the padded input, cropped."""
    padded = stock_input_gradient(c.without_padding(), w, g)
    start = [low for low, _ in c.windows.padding]
    return lax.slice(padded, start, [low + size for low, size in zip(start, c.x, strict=True)])


def blocks_forward(c: ConvShape, x: jax.Array, w: jax.Array) -> jax.Array:
    """Neighbouring groups merged into block-diagonal kernels, one ungrouped convolution a block."""
    block, xs, ws = _block(c), _split(c, x), _split(c, w)
    parts = [forward(block, each_x, _merge(c, each_w)) for each_x, each_w in zip(xs, ws, strict=True)]
    return lax.concatenate(parts, x.ndim - 1)


def blocks_input_gradient(c: ConvShape, w: jax.Array, g: jax.Array) -> jax.Array:
    """Block by block, as ``blocks_forward``."""
    block, ws, gs = _block(c), _split(c, w), _split(c, g)
    parts = [input_gradient(block, _merge(c, each_w), each_g) for each_w, each_g in zip(ws, gs, strict=True)]
    return lax.concatenate(parts, g.ndim - 1)


def blocks_weight_gradient(c: ConvShape, x: jax.Array, g: jax.Array) -> jax.Array:
    """Block by block, as ``blocks_forward``; what lies off the diagonal is dropped."""
    block, xs, gs = _block(c), _split(c, x), _split(c, g)
    parts = [_unmerge(c, weight_gradient(block, each_x, each_g)) for each_x, each_g in zip(xs, gs, strict=True)]
    return lax.concatenate(parts, x.ndim - 1)


def _contract(a: jax.Array, b: jax.Array, axes: int, c: ConvShape) -> jax.Array:
    """Product over the last ``axes`` axes of ``a`` and the first of ``b``."""
    ends = (tuple(range(a.ndim - axes, a.ndim)), tuple(range(axes)))
    return lax.dot_general(a, b, (ends, ((), ())), precision=c.precision)


def _correlate(a: jax.Array, g: jax.Array, c: ConvShape) -> jax.Array:
    """[N, *out, A], [N, *out, B] -> [A, B]."""
    shared = tuple(range(g.ndim - 1))
    return lax.dot_general(a, g, ((shared, shared), ((), ())), precision=c.precision)


def _patches(c: ConvShape, x: jax.Array) -> jax.Array:
    """[N, *space, C] -> [N, *out, taps * C], channels innermost.

    Built axis by axis, last axis first, so that the long innermost runs of the earlier steps are copied whole.
    """
    channels = x.ndim - 1
    windows = c.windows
    patches = windows.pad(x, 0.0)
    for axis in range(channels - 1, 0, -1):
        step, stride, taps = windows.dilation[axis], windows.strides[axis], windows.dimensions[axis]
        span = (c.output[axis] - 1) * stride + 1
        starts = [tap * step for tap in range(taps)]
        slices = [lax.slice_in_dim(patches, start, start + span, stride, axis) for start in starts]
        patches = lax.optimization_barrier(lax.concatenate(slices, channels))
    return patches


def _block(c: ConvShape) -> ConvShape:
    merged = groups_per_block(c)
    return c.with_channels(c.inputs // c.groups * merged, c.outputs // c.groups * merged)


def _split(c: ConvShape, array: jax.Array) -> list[jax.Array]:
    """The blocks' channels; groups lie side by side in the last axis of x, g and w alike."""
    return jnp.split(array, c.groups // groups_per_block(c), -1)


def _merge(c: ConvShape, w: jax.Array) -> jax.Array:
    """[*taps, c_in, merged * c_out] -> [*taps, merged * c_in, merged * c_out], zero where groups do not meet."""
    merged, inputs, outputs = groups_per_block(c), c.inputs // c.groups, c.outputs // c.groups
    full = (c.taps, merged, inputs, merged, outputs)
    spread = lax.broadcast_in_dim(w.reshape(c.taps, inputs, merged, outputs), full, (0, 2, 3, 4))
    same = lax.broadcast_in_dim(np.eye(merged, dtype=bool), full, (1, 3))
    return lax.select(same, spread, jnp.zeros_like(spread)).reshape(_block(c).w)


def _unmerge(c: ConvShape, w: jax.Array) -> jax.Array:
    """The inverse of ``_merge``."""
    merged, inputs, outputs = groups_per_block(c), c.inputs // c.groups, c.outputs // c.groups
    full = w.reshape(c.taps, merged, inputs, merged, outputs)
    diagonal = [full[:, group, :, group] for group in range(merged)]
    return jnp.stack(diagonal, 2).reshape(*c.w[:-2], inputs, merged * outputs)


Operator = Callable[[ConvShape, jax.Array, jax.Array], jax.Array]

FORWARD: dict[Lowering, Operator] = {
    Lowering.STOCK: stock_forward,
    Lowering.POINTWISE: pointwise_forward,
    Lowering.EVEN_CHANNELS: even_forward,
    Lowering.PATCHES: patches_forward,
    Lowering.DEPTHWISE: depthwise.forward,
    Lowering.GROUP_BLOCKS: blocks_forward,
}
"""Called with the shape, x and w."""

INPUT_GRADIENT: dict[Lowering, Operator] = {
    Lowering.STOCK: stock_input_gradient,
    Lowering.POINTWISE: pointwise_input_gradient,
    Lowering.DEPTHWISE: depthwise.input_gradient,
    Lowering.GROUP_BLOCKS: blocks_input_gradient,
    Lowering.EXPLICIT_PADDING: explicit_padding_input_gradient,
}
"""Called with the shape, w and the output's gradient."""

WEIGHT_GRADIENT: dict[Lowering, Operator] = {
    Lowering.STOCK: stock_weight_gradient,
    Lowering.POINTWISE: pointwise_weight_gradient,
    Lowering.PATCHES: patches_weight_gradient,
    Lowering.DEPTHWISE: depthwise.weight_gradient,
    Lowering.GROUP_BLOCKS: blocks_weight_gradient,
}
"""Called with the shape, x and the output's gradient."""
