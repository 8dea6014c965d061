"""Which lowering a convolution takes on CPU, decided by its shape alone.

The rules say where the stock operator of XLA:CPU (jaxlib 0.10, YNNPACK) leaves its fast path; everywhere else it is
kept. They come from ``benchmarks/lowering_sweep.py``, which prints every lowering's time next to the rule's choice.
"""

from __future__ import annotations

import enum

from linger_jax.numerics.convolution.convolution_shape import ConvShape

MERGED_CHANNELS = 16
"""Input channels a block of groups should have: fewer run no faster."""

MOST_BLOCKS = 16
"""Blocks a grouped convolution is split into at most: each is an operator to compile."""

NARROW_OUTPUTS = 16
"""Output channels up to which the stock forward pass leaves its tile half empty."""

TILE_OUTPUTS = 32
"""Output channels of the stock forward pass's tile: up to here an odd number of input channels has no fast kernel."""

NARROW_PATCH = 64
"""Elements of a patch (taps times input channels) up to which patches beat a narrow convolution."""

FEW_INPUTS = 8
"""Input channels below which a layer counts as a first layer: a matrix product has nothing to sum over."""

SMALL_KERNEL = 9
"""Taps (three by three) up to which a first layer's kernel gradient gains from patches."""


class Lowering(enum.Enum):
    """A way to compute a convolution or one of its gradients."""

    STOCK = "stock"
    POINTWISE = "pointwise"
    EVEN_CHANNELS = "even_channels"
    PATCHES = "patches"
    DEPTHWISE = "depthwise"
    GROUP_BLOCKS = "group_blocks"
    EXPLICIT_PADDING = "explicit_padding"


def forward_rule(c: ConvShape) -> Lowering:
    """The lowering of the forward pass."""
    grouped = _grouped_rule(c)
    if grouped is not None:
        return grouped
    if c.taps == 1 and set(c.strides) == {1} and c.inputs >= FEW_INPUTS:
        return Lowering.POINTWISE
    if c.taps > 1 and c.inputs < FEW_INPUTS and c.outputs <= NARROW_OUTPUTS and c.taps * c.inputs <= NARROW_PATCH:
        return Lowering.PATCHES
    if c.inputs > 1 and c.inputs % 2 and NARROW_OUTPUTS < c.outputs <= TILE_OUTPUTS:
        return Lowering.EVEN_CHANNELS
    return Lowering.STOCK


def input_gradient_rule(c: ConvShape) -> Lowering:
    """The lowering of the gradient with respect to the input."""
    grouped = _grouped_rule(c)
    if grouped is not None:
        return grouped
    if c.taps == 1:
        return Lowering.POINTWISE
    # The stock gradient pads by a negative amount here, for which XLA:CPU (jaxlib 0.10) may return unset memory.
    return Lowering.EXPLICIT_PADDING if c.overhangs else Lowering.STOCK


def weight_gradient_rule(c: ConvShape) -> Lowering:
    """The lowering of the gradient with respect to the kernel."""
    grouped = _grouped_rule(c)
    if grouped is not None:
        return grouped
    if c.taps == 1:
        return Lowering.POINTWISE
    if c.taps <= SMALL_KERNEL and c.inputs < FEW_INPUTS and c.outputs > NARROW_OUTPUTS:
        return Lowering.PATCHES
    return Lowering.STOCK


def groups_per_block(c: ConvShape) -> int:
    """How many neighbouring groups share an ungrouped convolution: a divisor of the number of groups."""
    inputs = c.inputs // c.groups
    enough = max(MERGED_CHANNELS // inputs, c.groups // MOST_BLOCKS, 1)
    return next(count for count in range(1, c.groups + 1) if c.groups % count == 0 and count >= min(enough, c.groups))


def _grouped_rule(c: ConvShape) -> Lowering | None:
    """Grouped convolutions are a scalar loop in the stock operator: 1 to 9 GFLOP/s of some 100."""
    if c.depthwise:
        return Lowering.DEPTHWISE
    return Lowering.GROUP_BLOCKS if c.groups > 1 else None
