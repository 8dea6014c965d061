"""Running named quantizers: the one place where interpretation and quantizers meet."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from linger_jax.interpret.context import Array, Context, Mode, Value
from linger_jax.interpret.tied_scales import quantize_tied
from linger_jax.numerics.products import bias_steps, largest_weight_scale
from linger_jax.plan import Node
from linger_jax.quantizers import (
    QTensor,
    calibrate,
    clamp_weight_once,
    has_non_finite,
    quantize,
    rescale,
)
from linger_jax.typing import Path


def run_quantizer(
    ctx: Context,
    path: Path,
    x: Array,
    *,
    given_scale: Array | None = None,
    min_scale: Array | None = None,
    clip: float | None = None,
) -> QTensor:
    """Quantizes ``x`` by the quantizer at ``path`` in the context's mode and stores its new state.

    Args:
      ctx: the interpretation.
      path: state path of the quantizer.
      x: float32 array.
      given_scale: scale handed in (bias quantizers, docs/specification/quantizers.md section 5).
      min_scale: upper limit of the scale (docs/specification/quantizers.md section 6).
      clip: in training, bound applied before the statistic (docs/specification/quantizers.md section 10).
    """
    spec, state = ctx.quantizers[path].spec, ctx.state[path]
    if ctx.mode is Mode.integer:
        _note(ctx, path, jax.numpy.isnan(x).any())
    if ctx.mode is Mode.calibrate:
        if ctx.quantizers[path].parameters:
            spec = dataclasses.replace(spec, clamp_value=None, clamp_factor=None)
        _note(ctx, path, has_non_finite(x))
        y, state = calibrate(spec, x, state, given_scale=given_scale, min_scale=min_scale)
    elif ctx.mode is Mode.rescale:
        y, state = x, rescale(spec, state, given_scale=given_scale, min_scale=min_scale)
    elif path in ctx.tied and ctx.training:
        y, state = quantize_tied(ctx, path, x, min_scale=min_scale, clip=clip)
    else:
        y, state = quantize(
            spec, x, state, training=ctx.training, given_scale=given_scale, min_scale=min_scale, clip=clip
        )
    ctx.state[path] = state
    return noted(ctx, path, x, QTensor(y, state["scale"], spec.bits))


def _note(ctx: Context, path: Path, flag: Array) -> None:
    ctx.non_finite[path] = ctx.non_finite.get(path, jax.numpy.array(False)) | flag


def noted(ctx: Context, path: Path, x: Array, result: QTensor) -> QTensor:
    """The result of a quantizer, remembered with what it got for those who record that."""
    if ctx.recording is not None:
        ctx.recording.note(path, x, result)
    return result


def accept(ctx: Context, path: Path, x: Value) -> QTensor:
    """The value as a QTensor: taken as it is, its scale recorded, or run through the input quantizer at ``path``."""
    if not isinstance(x, QTensor):
        return run_quantizer(ctx, path, x)
    ctx.state[path] = {**ctx.state[path], "scale": x.scale}
    return x


def accept_operand(ctx: Context, node: Node, position: int, x: Value) -> QTensor:
    """One operand of an operator, as ``accept``; Python numbers become float32 scalars.

    Source: docs/specification/ops.md section 3.
    """
    x = x if isinstance(x, QTensor) else jax.numpy.asarray(x, jax.numpy.float32)
    return accept(ctx, node.quantizer_path("input_quantizer", str(position)), x)


@dataclasses.dataclass(frozen=True)
class BiasBeside:
    """The bias of a layer, as far as its weight's scale depends on it: real numbers, and the scale that both share.

    Attributes:
      path: of its quantizer.
      bias: float32, of any shape; None for none.
      unit: float32 scalar, integer steps per unit of what the weight multiplies.
    """

    path: Path
    bias: Array | None
    unit: Array


_SPARE_BITS = 1
"""What a bias may grow by until the next step looks again (docs/decisions.md D27)."""


def quantize_weight(ctx: Context, path: Path, weight: Array, beside: BiasBeside | None = None) -> QTensor:
    """Quantizes a weight, no finer than the bias beside it allows.

    A parameter comes clamped already (parameter_clamps); what is computed from parameters is clamped here: BatchNorm's
    folded scale, in the first training step (docs/specification/layers.md section 4).
    """
    quantizer = ctx.quantizers[path]
    if ctx.training and not quantizer.parameters:
        weight, ctx.state[path] = clamp_weight_once(quantizer.spec, weight, ctx.state[path])
    limit = None
    if beside is not None and beside.bias is not None and ctx.semantics.weights_leave_room:
        spare = 0 if ctx.evaluating else _SPARE_BITS
        width = ctx.quantizers[beside.path].spec.bits
        limit = largest_weight_scale(beside.bias, beside.unit, width, spare_bits=spare)
    return run_quantizer(ctx, path, weight, min_scale=limit)


def quantize_bias(ctx: Context, path: Path, bias: Array, scale: Any) -> QTensor:
    """Quantizes a bias on the accumulator's grid (docs/specification/quantizers.md section 5)."""
    quantized = run_quantizer(ctx, path, bias, given_scale=scale)
    if ctx.recording is not None:
        ctx.recording.note_bias(path, bias_steps(quantized.value, scale, quantized.bits))
    return quantized


def where_number(operand: Array, result: Array) -> Array:
    """The result of an integer kernel, NaN where its operand is: integers hold none.

    A diverged training must not look healthy (docs/decisions.md D35).

    Args:
      operand: float32, of the result's shape or one that is broadcast to it.
      result: float32.
    """
    return jax.numpy.where(operand == operand, result, np.float32(np.nan))


@jax.custom_vjp
def straight_through(value: Array, reference: Array) -> Array:
    """Returns ``value``; the gradient goes to ``reference`` alone."""
    del reference
    return value


def _straight_through_forward(value: Array, reference: Array) -> tuple[Array, None]:
    del reference
    return value, None


def _straight_through_backward(_: None, g: Array) -> tuple[Array, Array]:
    return jax.numpy.zeros_like(g), g


straight_through.defvjp(_straight_through_forward, _straight_through_backward)
