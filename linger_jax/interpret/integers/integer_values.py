"""From quantized values to exact sums of integers, and from sums to the grid of an output quantizer."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.config import RoundMode
from linger_jax.errors import LingerError
from linger_jax.interpret.apply_quantizer import run_quantizer, straight_through
from linger_jax.interpret.context import Array, Context, Mode
from linger_jax.interpret.integers.unknown import unknown_of_contraction
from linger_jax.numerics import Accumulator, exponent_of_power_of_two, power_of_two
from linger_jax.numerics.chip_kernels import saturated_int32
from linger_jax.numerics.products import Dimensions, bias_steps, contraction
from linger_jax.quantizers import SCALE, QTensor, scale_in_evaluation
from linger_jax.typing import Path


@jax.custom_jvp
def whole_numbers(x: QTensor) -> Array:
    """The integers of a quantized value as float32 whole numbers, saturated at its width.

    Raises:
      LingerError: it is differentiated.
    """
    low, high = -(2 ** (x.bits - 1)), 2 ** (x.bits - 1) - 1
    return lax.clamp(np.float32(low), x.value * x.scale, np.float32(high))


@whole_numbers.defjvp
def _no_gradient(primals: object, tangents: object) -> tuple[Array, Array]:
    raise LingerError(
        "integer evaluation has no gradient: integers are no function of real numbers that could be differentiated. "
        "Train and differentiate without mode='integer'; both give the same values"
    )


def integers_of(x: QTensor) -> Accumulator:
    """The integers of a quantized value."""
    return Accumulator.of(saturated_int32(whole_numbers(x)), 2 ** (x.bits - 1))


def operands(ctx: Context, *values: QTensor) -> tuple[QTensor, ...]:
    """Values for a sum of integers: in an evaluation that may be differentiated, without the gradient of integers."""
    if ctx.mode is Mode.integer:
        return values
    return tuple(QTensor(lax.stop_gradient(v.value), lax.stop_gradient(v.scale), v.bits) for v in values)


def exponent_of(*values: QTensor) -> Array:
    """log2 of the scale of a product of quantized values; int32 scalar."""
    exponent = jnp.zeros((), jnp.int32)
    for x in values:
        exponent = exponent + exponent_of_power_of_two(lax.stop_gradient(x.scale))
    return exponent


def at_output(
    ctx: Context, path: Path, total: Accumulator, exponent: Array, smooth: Callable[[], Array], unknown: Array
) -> QTensor:
    """An exact sum at an output quantizer's stored scale: ``clip(round(total / 2^(exponent - log2 scale)))``.

    Args:
      ctx: the interpretation, in integers; the quantizer's scale is noted as evaluation notes it.
      path: the quantizer.
      total: in steps of 2^-exponent.
      exponent: int32 scalar.
      smooth: the same sum in float32, whose gradient the result has. It is not formed in ``Mode.integer``, and costs
        nothing where a compiled program has no use for its gradient.
      unknown: bools that broadcast to the result: where it is NaN, because an operand was.

    Source: docs/specification/onnx_export.md section 3 (integer meaning), docs/specification/quantizers.md
    sections 1 and 7.
    """
    spec, state = ctx.quantizers[path].spec, ctx.state[path]
    scale = scale_in_evaluation(spec, state)
    steps = total.requantized(exponent - exponent_of_power_of_two(scale), spec.bits, spec.rounding_in_evaluation)
    value = jnp.where(unknown, np.float32(np.nan), lax.convert_element_type(steps, jnp.float32) / scale)
    if ctx.mode is Mode.integer:
        ctx.state[path] = {**state, SCALE: scale}
        return QTensor(value, scale, spec.bits)
    reference = run_quantizer(ctx, path, smooth())
    return QTensor(straight_through(value, reference.value), scale, spec.bits)


def regridded(ctx: Context, path: Path, x: QTensor) -> Array:
    """The numbers of a quantized value at an output quantizer's stored scale, without gradient; NaN stays."""
    spec = ctx.quantizers[path].spec
    scale = scale_in_evaluation(spec, ctx.state[path])
    (whole,) = operands(ctx, x)
    shift = exponent_of(whole) - exponent_of_power_of_two(scale)
    steps = integers_of(whole).requantized(shift, spec.bits, spec.rounding_in_evaluation)
    return jnp.where(jnp.isnan(whole.value), np.float32(np.nan), lax.convert_element_type(steps, jnp.float32) / scale)


def bias_on_grid(bias: QTensor, exponent: Array) -> Accumulator:
    """A quantized bias on the accumulator's grid, saturated at its width.

    Args:
      bias: as its quantizer returned it.
      exponent: log2 of the accumulator's scale.
    """
    steps = bias_steps(bias.value, power_of_two(exponent), bias.bits)
    return Accumulator.of(steps, 2 ** (bias.bits - 1))


def multiply(
    ctx: Context, path: Path, x: QTensor, y: QTensor, smooth: Callable[[], Array], bias: QTensor | None = None
) -> QTensor:
    """x * y, element by element, and a bias of the same rank, at an output quantizer."""
    left, right = operands(ctx, x, y)
    unknown = jnp.isnan(left.value) | jnp.isnan(right.value)
    return _product_at_output(ctx, path, integers_of(left) * integers_of(right), (left, right), smooth, unknown, bias)


def contract(
    ctx: Context,
    path: Path,
    x: QTensor,
    y: QTensor,
    dimension_numbers: Dimensions,
    smooth: Callable[[], Array],
    bias: QTensor | None = None,
) -> QTensor:
    """``lax.dot_general`` and a bias of its rank at an output quantizer."""
    left, right = operands(ctx, x, y)
    total = contraction(
        integers_of(left).value, integers_of(right).value, dimension_numbers, x_bits=x.bits, y_bits=y.bits
    )
    unknown = unknown_of_contraction(x.value, y.value, dimension_numbers)
    return _product_at_output(ctx, path, total, (left, right), smooth, unknown, bias)


def _product_at_output(
    ctx: Context,
    path: Path,
    total: Accumulator,
    factors: tuple[QTensor, QTensor],
    smooth: Callable[[], Array],
    unknown: Array,
    bias: QTensor | None,
) -> QTensor:
    exponent = exponent_of(*factors)
    if bias is not None:
        total, unknown = total + bias_on_grid(bias, exponent), unknown | jnp.isnan(bias.value)
    return at_output(ctx, path, total, exponent, smooth, unknown)


def add_on_output_grid(
    ctx: Context, path: Path, summands: list[tuple[QTensor, RoundMode]], smooth: Callable[[], Array]
) -> QTensor:
    """A sum whose operands are brought to the output's grid first, unclamped (docs/specification/ops.md section 4).

    Args:
      ctx: the interpretation.
      path: of the output quantizer.
      summands: each with the rounding of its own input quantizer.
      smooth: as in ``at_output``.
    """
    scale = scale_in_evaluation(ctx.quantizers[path].spec, ctx.state[path])
    exponent = exponent_of_power_of_two(scale)
    values = operands(ctx, *(x for x, _ in summands))
    first, *others = [
        integers_of(x).shifted(exponent_of(x) - exponent, mode) for x, (_, mode) in zip(values, summands, strict=True)
    ]
    for other in others:
        first = first + other
    unknown = functools.reduce(jnp.logical_or, [jnp.isnan(x.value) for x in values])
    return at_output(ctx, path, first, exponent, smooth, unknown)
