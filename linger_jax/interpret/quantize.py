"""Running named quantizers: the one place where interpretation and quantizers meet."""

from __future__ import annotations

from typing import Any

import jax

from linger_jax.interpret.context import Array, Context, Mode, Value
from linger_jax.plan import Quantizer
from linger_jax.quantizers import (
    QTensor,
    calibrate,
    clamp_weight_once,
    has_non_finite,
    quantize,
)
from linger_jax.staging.marker import Path


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
      given_scale: scale handed in (bias quantizers, spec/quantizers.md section 5).
      min_scale: upper limit of the scale (section 6).
      clip: in training, bound applied before the statistic (section 10).
    """
    spec, state = ctx.quantizers[path].spec, ctx.state[path]
    if ctx.mode is Mode.calibrate:
        ctx.non_finite[path] = ctx.non_finite.get(path, jax.numpy.array(False)) | has_non_finite(x)
        # A fresh quantizer joins nothing: the first batch, later ones and a shared layer run one program.
        y, state = calibrate(spec, x, state, accumulate=True, given_scale=given_scale, min_scale=min_scale)
    else:
        y, state = quantize(
            spec, x, state, training=ctx.training, given_scale=given_scale, min_scale=min_scale, clip=clip
        )
    ctx.state[path] = state
    return QTensor(y, state["scale"], spec.bits)


def accept(ctx: Context, path: Path, x: Value) -> QTensor:
    """The value as a QTensor: taken as it is, its scale recorded, or run through the input quantizer at ``path``."""
    if not isinstance(x, QTensor):
        return run_quantizer(ctx, path, x)
    ctx.state[path] = {**ctx.state[path], "scale": x.scale}
    return x


def quantize_weight(ctx: Context, path: Path, weight: Array) -> QTensor:
    """Quantizes a weight, with the clamp of the first training step (spec/quantizers.md section 3.2, decision D24)."""
    quantizer = ctx.quantizers[path]
    if ctx.mode is Mode.calibrate:
        taken = run_quantizer(ctx, path, _to_file(quantizer, weight))
        clamped = _from_file(quantizer, taken.value)
        _overwrite(ctx, quantizer, clamped)
        return QTensor(clamped, taken.scale, taken.bits)
    if ctx.training:
        clamped, ctx.state[path] = clamp_weight_once(quantizer.spec, _to_file(quantizer, weight), ctx.state[path])
        weight = _from_file(quantizer, clamped)
        _overwrite(ctx, quantizer, weight)
    return run_quantizer(ctx, path, weight)


def _to_file(quantizer: Quantizer, weight: Array) -> Array:
    return weight if quantizer.file_layout is None else quantizer.file_layout.to_file(weight)


def _from_file(quantizer: Quantizer, weight: Array) -> Array:
    return weight if quantizer.file_layout is None else quantizer.file_layout.from_file(weight)


def quantize_bias(ctx: Context, path: Path, bias: Array, scale: Any) -> QTensor:
    """Quantizes a bias on the accumulator's grid (spec/quantizers.md section 5)."""
    taken = run_quantizer(ctx, path, bias, given_scale=scale)
    if ctx.mode is Mode.calibrate:
        _overwrite(ctx, ctx.quantizers[path], taken.value)
    return taken


def _overwrite(ctx: Context, quantizer: Quantizer, value: Array) -> None:
    if quantizer.parameter is not None:
        ctx.parameters[quantizer.parameter] = jax.lax.stop_gradient(value)


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
