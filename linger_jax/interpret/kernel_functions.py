"""Quantized functions: sigmoid, tanh, gelu, swish, softmax by the chip's kernels.

Source: docs/specification/ops.md sections 4 to 6.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp
from jax import lax

from linger_jax.config import RoundMode
from linger_jax.errors import PlatformLimitError
from linger_jax.interpret.apply_quantizer import accept_operand, noted, run_quantizer, straight_through
from linger_jax.interpret.context import Array, Context, Mode, Value
from linger_jax.interpret.interpreter import InterpreterRule, single
from linger_jax.kinds import KIND_OF_NODE
from linger_jax.numerics import chip_kernels, float_functions
from linger_jax.numerics.chip_kernels import (
    GATED_FRACTION_BITS,
    SOFTMAX_INPUT_FRACTION_BITS,
    SOFTMAX_RESULT_FRACTION_BITS,
    fixed_scale,
    from_fixed_point,
    kernels_of,
    saturated_int32,
    saturated_to,
    steps_to_fixed_point,
    values_to_fixed_point,
    wrapped_int32,
)
from linger_jax.plan import Node
from linger_jax.quantizers import SCALE, QTensor
from linger_jax.targets import Platform

Kernel = Callable[[Array, Platform], Array]
FixedScaleKernel = Callable[[Array, Platform, int], Array]

_LARGEST_QUANTIZED_BITS = 24
"""Results of more bits are the kernel's integers themselves, which float32 cannot round again.

Source: docs/specification/ops.md section 5.
"""


def _fixed_scale_rule(kernel: FixedScaleKernel, exact: Callable[[Array], Array]) -> InterpreterRule:
    """sigmoid and tanh: the result lies at scale 2^(bits - 1), on some chips at one that follows the data.

    Args:
      kernel: the integer function.
      exact: the float function to the last bit. Where results crowd below 1 their last bits decide a threshold.
    """

    def rule(ctx: Context, node: Node, operands: Sequence[Value]) -> list[Value]:
        path = _output(node)
        platform, bits = ctx.settings.config.platform, ctx.quantizers[path].spec.bits
        follows_data = platform not in KIND_OF_NODE[node.op].fixed_scale_on
        x = accept_operand(ctx, node, 0, operands[0])
        real = single(node.run, x.value)
        if ctx.mode is Mode.rescale:
            given = None if follows_data else jnp.float32(fixed_scale(bits))
            return [run_quantizer(ctx, path, real, given_scale=given)]
        if ctx.in_float:
            recorded = run_quantizer(ctx, path, straight_through(exact(lax.stop_gradient(x.value)), real))
            _keep_fixed_scale(ctx, path)
            return [recorded]
        _refuse_missing(ctx, node)
        fraction_bits = chip_kernels.result_fraction_bits(platform, bits)
        y = kernel(sigmoid_input(ctx, x, _rounding(ctx, node)), platform, fraction_bits)
        value = straight_through(from_fixed_point(y, fraction_bits), real)
        if follows_data:
            return [run_quantizer(ctx, path, value)]
        scale = jnp.float32(fixed_scale(bits))
        if bits > _LARGEST_QUANTIZED_BITS:
            ctx.state[path] = {**ctx.state[path], SCALE: scale}
            return [noted(ctx, path, value, QTensor(value, scale, bits))]
        _keep_fixed_scale(ctx, path)
        return [run_quantizer(ctx, path, value, given_scale=scale)]

    return rule


def _keep_fixed_scale(ctx: Context, path: tuple[str, ...]) -> None:
    fixed = ctx.quantizers[path].fixed_scale
    if fixed is not None:
        ctx.state[path] = {**ctx.state[path], SCALE: jnp.full_like(ctx.state[path][SCALE], fixed)}


def sigmoid_input(ctx: Context, x: QTensor, rounding: RoundMode) -> Array:
    """int32 operand of sigmoid and tanh; beyond an input of 16 bits a kernel answers 0 (docs/codes.md K1).

    Args:
      ctx: the interpretation.
      x: the operand.
      rounding: of its input quantizer.
    """
    kernel = kernels_of(ctx.settings.config.platform, "sigmoid and tanh").sigmoid_tanh
    fixed = steps_to_fixed_point(lax.stop_gradient(x.value), x.scale, kernel.input_fraction_bits, rounding)
    if kernel.linger_wraps_input and not ctx.semantics.kernel_inputs_saturate:
        return wrapped_int32(fixed)
    return saturated_to(saturated_int32(fixed), kernel.input_bits)


def _gated_rule(kernel: Kernel) -> InterpreterRule:
    """gelu and swish; what does not fit the kernel's input saturates, in the reference it wraps (docs/codes.md K2)."""

    def rule(ctx: Context, node: Node, operands: Sequence[Value]) -> list[Value]:
        x = accept_operand(ctx, node, 0, operands[0])
        real = single(node.run, x.value)
        if ctx.in_float:
            return [run_quantizer(ctx, _output(node), real)]
        _refuse_missing(ctx, node)
        fixed = steps_to_fixed_point(lax.stop_gradient(x.value), x.scale, GATED_FRACTION_BITS, _rounding(ctx, node))
        to_int32 = saturated_int32 if ctx.semantics.kernel_inputs_saturate else wrapped_int32
        y = kernel(to_int32(fixed), ctx.settings.config.platform)
        value = straight_through(from_fixed_point(y, GATED_FRACTION_BITS), real)
        return [run_quantizer(ctx, _output(node), value)]

    return rule


def softmax(ctx: Context, node: Node, operands: Sequence[Value]) -> list[Value]:
    """Softmax over one axis."""
    x = accept_operand(ctx, node, 0, operands[0])
    real = single(node.run, x.value)
    if ctx.in_float:
        return [run_quantizer(ctx, _output(node), real)]
    _refuse_missing(ctx, node)
    axis = node.attributes["axis"]
    rows = jnp.moveaxis(lax.stop_gradient(x.value), axis, -1)
    fixed = saturated_int32(values_to_fixed_point(rows, SOFTMAX_INPUT_FRACTION_BITS))
    y = jnp.moveaxis(chip_kernels.softmax(fixed, ctx.settings.config.platform), -1, axis)
    value = straight_through(from_fixed_point(y, SOFTMAX_RESULT_FRACTION_BITS), real)
    return [run_quantizer(ctx, _output(node), value)]


def _refuse_missing(ctx: Context, node: Node) -> None:
    """The reference finds out here that a platform lacks a kernel; otherwise the plan has made it a float step.

    Source: docs/decisions.md D8.
    """
    kind, platform = KIND_OF_NODE[node.op], ctx.settings.config.platform
    if not kind.runs_on(platform):
        raise PlatformLimitError(
            f"{node.label}: {platform.value} has no {kind.name} kernel (compat: reference). Choose another platform, "
            f"leave it float with disable_ops={kind.name!r}, or use compat: chip, which does so by itself"
        )


def _output(node: Node) -> tuple[str, ...]:
    assert node.state_path is not None
    return (*node.state_path, "output_quantizer")


def _rounding(ctx: Context, node: Node) -> RoundMode:
    assert node.state_path is not None
    return ctx.quantizers[(*node.state_path, "input_quantizer", "0")].spec.rounding


RULES: Mapping[str, InterpreterRule] = {
    "logistic": _fixed_scale_rule(chip_kernels.sigmoid, float_functions.sigmoid),
    "tanh": _fixed_scale_rule(chip_kernels.tanh, float_functions.tanh),
    "gelu": _gated_rule(chip_kernels.gelu),
    "silu": _gated_rule(chip_kernels.swish),
    "softmax": softmax,
}
