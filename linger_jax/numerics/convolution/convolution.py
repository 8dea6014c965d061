"""Convolution whose forward pass and two gradients each take the lowering that is fastest on CPU.

The operator is ``lax.conv_general_dilated``; which products are summed does not change, only how. Where all sums are
exact (inputs on power-of-two grids, below 2^24 steps) the result is the same bit for bit; gradients may differ in the
rounding of their sums.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
from jax import lax

from linger_jax.numerics.convolution import convolution_lowerings as lowerings
from linger_jax.numerics.convolution.convolution_shape import ConvShape
from linger_jax.numerics.convolution.lowering_rules import (
    Lowering,
    forward_rule,
    input_gradient_rule,
    weight_gradient_rule,
)


def conv(
    x: jax.Array,
    w: jax.Array,
    *,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    dimension_numbers: lax.ConvGeneralDilatedDimensionNumbers = None,
    precision: lax.PrecisionLike = None,
    preferred_element_type: jax.typing.DTypeLike | None = None,
    fast: bool,
) -> jax.Array:
    """``lax.conv_general_dilated`` with the same arguments and one more.

    Args:
      x, w: input and kernel, laid out as ``dimension_numbers`` says.
      window_strides, padding, lhs_dilation, rhs_dilation, feature_group_count, batch_group_count,
        dimension_numbers, precision, preferred_element_type: as there.
      fast: on CPU, let ``convolution_rules`` choose the lowering (float32, channels last, no dilation of the input).
        Other platforms, and False, run the stock operator exactly. Where a rule applies, forward-mode
        differentiation needs False.

    Returns:
      What ``lax.conv_general_dilated`` returns; inputs are expected to be finite (an infinity or NaN may reach the
      other groups of a grouped convolution).
    """
    options: dict[str, Any] = {
        "window_strides": window_strides,
        "padding": padding,
        "lhs_dilation": lhs_dilation,
        "rhs_dilation": rhs_dilation,
        "dimension_numbers": dimension_numbers,
        "feature_group_count": feature_group_count,
        "batch_group_count": batch_group_count,
        "precision": precision,
        "preferred_element_type": preferred_element_type,
    }
    shape = ConvShape.of(x, w, **options) if fast else None
    if shape is not None and _differs(shape):
        return _conv(shape, x, w)
    return lax.conv_general_dilated(x, w, **options)


def _differs(shape: ConvShape) -> bool:
    rules = (forward_rule, input_gradient_rule, weight_gradient_rule)
    return any(rule(shape) is not Lowering.STOCK for rule in rules)


def _on_cpu(
    rule: Callable[[ConvShape], Lowering],
    fast: lowerings.Operator,
    stock: lowerings.Operator,
    shape: ConvShape,
    *operands: jax.Array,
) -> jax.Array:
    """``fast`` where the program runs on CPU, ``stock`` elsewhere: settled when the program is lowered."""
    if rule(shape) is Lowering.STOCK:
        return stock(shape, *operands)
    return lax.platform_dependent(*operands, cpu=partial(fast, shape), default=partial(stock, shape))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _conv(shape: ConvShape, x: jax.Array, w: jax.Array) -> jax.Array:
    return _on_cpu(forward_rule, lowerings.forward, lowerings.stock_forward, shape, x, w)


def _conv_fwd(shape: ConvShape, x: jax.Array, w: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _conv(shape, x, w), (x, w)


def _conv_bwd(shape: ConvShape, operands: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, w = operands
    input_gradient, stock_input_gradient = lowerings.input_gradient, lowerings.stock_input_gradient
    weight_gradient, stock_weight_gradient = lowerings.weight_gradient, lowerings.stock_weight_gradient
    return (
        _on_cpu(input_gradient_rule, input_gradient, stock_input_gradient, shape, w, g),
        _on_cpu(weight_gradient_rule, weight_gradient, stock_weight_gradient, shape, x, g),
    )


_conv.defvjp(_conv_fwd, _conv_bwd)
