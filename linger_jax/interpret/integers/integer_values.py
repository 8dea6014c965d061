"""From quantized values to exact sums of integers, and from sums to the grid of an output quantizer."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.config import QuantMethod, RoundMode
from linger_jax.errors import LingerError
from linger_jax.interpret.apply_quantizer import quantize_bias
from linger_jax.interpret.context import Array, Context
from linger_jax.numerics import Accumulator, exponent_of_power_of_two, int64, power_of_two
from linger_jax.numerics.chip_kernels import saturated_int32
from linger_jax.numerics.products import Dimensions, contraction
from linger_jax.quantizers import SCALE, QTensor, QuantizerSpec, scale_in_evaluation
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


def exponent_of(*values: QTensor) -> Array:
    """log2 of the scale of a product of quantized values; int32 scalar."""
    exponent = jnp.zeros((), jnp.int32)
    for x in values:
        exponent = exponent + exponent_of_power_of_two(lax.stop_gradient(x.scale))
    return exponent


def requantized(ctx: Context, path: Path, total: Accumulator, exponent: Array) -> QTensor:
    """An exact sum at an output quantizer's stored scale: ``clip(round(total / 2^(exponent - log2 scale)))``.

    Args:
      ctx: the interpretation; the quantizer's scale is noted as evaluation notes it.
      path: the quantizer.
      total: in steps of 2^-exponent.
      exponent: int32 scalar.

    Source: docs/specification/onnx_export.md section 3 (integer meaning), docs/specification/quantizers.md
    sections 1 and 7.
    """
    spec, state = ctx.quantizers[path].spec, ctx.state[path]
    scale = scale_in_evaluation(spec, state)
    steps = total.requantized(exponent - exponent_of_power_of_two(scale), spec.bits, _rounding(spec))
    ctx.state[path] = {**state, SCALE: scale}
    return QTensor(lax.convert_element_type(steps, jnp.float32) / scale, scale, spec.bits)


def bias_of(ctx: Context, path: Path, bias: Array, exponent: Array) -> Accumulator:
    """The bias that evaluation adds, on the accumulator's grid, saturated at its width.

    It lies on that grid, but where the largest scale 2^23 of a quantizer or a later change of the input's scale keeps
    it on another; where its grid is finer it is rounded down, which an accumulator that is rounded by ``floor_add``
    behind it does not see.

    Args:
      ctx: the interpretation.
      path: its quantizer.
      bias: float32.
      exponent: log2 of the accumulator's scale.
    """
    low, high = ctx.quantizers[path].spec.limits
    unit = power_of_two(exponent)
    added = quantize_bias(ctx, path, bias, unit).value
    steps = lax.clamp(np.float32(low), lax.floor(added * unit), np.float32(high))
    with int64.region():
        whole = lax.convert_element_type(steps, jnp.int64)
        return Accumulator.of(lax.min(whole, np.int64(high)), -low)


def multiply(ctx: Context, path: Path, x: QTensor, y: QTensor) -> QTensor:
    """x * y, element by element, at an output quantizer."""
    return requantized(ctx, path, integers_of(x) * integers_of(y), exponent_of(x, y))


def contract(ctx: Context, path: Path, x: QTensor, y: QTensor, dimension_numbers: Dimensions) -> QTensor:
    """``lax.dot_general`` at an output quantizer."""
    left, right = integers_of(x).value, integers_of(y).value
    total = contraction(left, right, dimension_numbers, x_bits=x.bits, y_bits=y.bits)
    return requantized(ctx, path, total, exponent_of(x, y))


def linear(ctx: Context, path: Path, x: QTensor, weight: QTensor, bias: Array | None, bias_path: Path) -> QTensor:
    """x W + b at an output quantizer: the last axis times [in, out]."""
    last = x.value.ndim - 1
    left, right = integers_of(x).value, integers_of(weight).value
    total = contraction(left, right, (((last,), (0,)), ((), ())), x_bits=x.bits, y_bits=weight.bits)
    if bias is not None:
        across = bias.reshape((1,) * last + bias.shape)
        total = total + bias_of(ctx, bias_path, across, exponent_of(x, weight))
    return requantized(ctx, path, total, exponent_of(x, weight))


def scaled_and_shifted(ctx: Context, path: Path, x: QTensor, scale: QTensor, shift: Array, shift_path: Path) -> QTensor:
    """x * scale + shift at an output quantizer; all of one rank.

    Args:
      ctx: the interpretation.
      path: of the output quantizer.
      x, scale: quantized.
      shift: float32.
      shift_path: of its bias quantizer.
    """
    exponent = exponent_of(x, scale)
    total = integers_of(x) * integers_of(scale) + bias_of(ctx, shift_path, shift, exponent)
    return requantized(ctx, path, total, exponent)


def add_on_output_grid(ctx: Context, path: Path, operands: list[tuple[QTensor, RoundMode]]) -> QTensor:
    """A sum whose operands are brought to the output's grid first, unclamped (docs/specification/ops.md section 4).

    Args:
      ctx: the interpretation.
      path: of the output quantizer.
      operands: each with the rounding of its own input quantizer.
    """
    scale = scale_in_evaluation(ctx.quantizers[path].spec, ctx.state[path])
    exponent = exponent_of_power_of_two(scale)
    (first, *others) = [integers_of(x).shifted(exponent_of(x) - exponent, mode) for x, mode in operands]
    for other in others:
        first = first + other
    return requantized(ctx, path, first, exponent)


def _rounding(spec: QuantizerSpec) -> RoundMode:
    """Rounding in evaluation: the CUDA kernel knows one only (docs/specification/quantizers.md section 8)."""
    return RoundMode.floor_add if spec.quant_method is QuantMethod.CUDA else spec.rounding
