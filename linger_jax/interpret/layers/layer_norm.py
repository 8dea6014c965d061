"""LayerNorm by the chip's integer kernel; the gradient is the float layer's.

Source: docs/specification/layers.md section 6.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.config import RoundMode
from linger_jax.interpret.apply_quantizer import BiasBeside, accept, quantize_bias, quantize_weight, where_number
from linger_jax.interpret.context import Array, Context, Mode, Value
from linger_jax.interpret.interpreter import interprets
from linger_jax.interpret.layers.operand_roles import by_role, results
from linger_jax.interpret.layers.weighted_layers import BIAS, INPUT, quantize_output
from linger_jax.kinds import LAYER_NORM
from linger_jax.numerics import round_half_even, round_scaled
from linger_jax.numerics.chip_kernels import saturated_int32
from linger_jax.numerics.normalization import EPSILON, RESULT_FRACTION_BITS, normalize
from linger_jax.numerics.products import rounded_product
from linger_jax.plan import Node

SCALE = ("params", "scale")
_RESULT_UNIT = np.float32(2**RESULT_FRACTION_BITS)
_LARGEST = np.float32(2.0**31)


@dataclasses.dataclass(frozen=True)
class _Form:
    """Static half of a LayerNorm: trailing axes, width and rounding of its input, width of its bias."""

    axes: int
    bits: int
    rounding: RoundMode
    bias_bits: int


@interprets(LAYER_NORM)
def layer_norm(ctx: Context, node: Node, operands: Sequence[Value]) -> list[Value]:
    """Rule of a LayerNorm over trailing axes; without scale its weight is one, without bias its bias zero."""
    roles, axes = by_role(node, operands), node.layer_info.attributes["axes"]
    path = node.quantizer_path("input_quantizer")
    x = accept(ctx, path, roles[INPUT])
    shape = x.value.shape[x.value.ndim - axes :]
    bias, bias_path = roles.get(BIAS), node.quantizer_path("bias_quantizer")
    gamma = roles.get(SCALE, jnp.ones(shape, jnp.float32))
    beside = BiasBeside(bias_path, bias, jnp.asarray(_RESULT_UNIT))
    weight = quantize_weight(ctx, node.quantizer_path("weight_quantizer"), gamma, beside)
    if ctx.in_float:
        if bias is not None and ctx.mode is Mode.calibrate:
            bias = quantize_bias(ctx, bias_path, bias, _RESULT_UNIT * weight.scale).value
        y = _float_layer_norm(axes, x.value, weight.value, bias)
    else:
        form = _Form(axes, x.bits, ctx.quantizers[path].spec.rounding, ctx.quantizers[bias_path].spec.bits)
        if bias is not None and ctx.recording is not None:
            ctx.recording.note_bias(bias_path, saturated_int32(_bias_steps(form, bias, weight.scale)))
        bias = jnp.zeros(shape, jnp.float32) if bias is None else bias
        y = _integer_layer_norm(form, x.value, x.scale, weight.value, weight.scale, bias)
    return results(node, quantize_output(ctx, node, y))


def _float_layer_norm(axes: int, x: Array, weight: Array, bias: Array | None) -> Array:
    over = tuple(range(x.ndim - axes, x.ndim))
    centred = x - jnp.mean(x, over, keepdims=True)
    deviation = jnp.sqrt(jnp.mean(jnp.square(centred), over, keepdims=True) + np.float32(EPSILON))
    y = centred / deviation * _over_rows(weight, x)
    return y if bias is None else y + _over_rows(bias, x)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _integer_layer_norm(form: _Form, x: Array, scale: Array, weight: Array, weight_scale: Array, bias: Array) -> Array:
    return _forward(form, x, scale, weight, weight_scale, bias)[0]


def _forward(
    form: _Form, x: Array, scale: Array, weight: Array, weight_scale: Array, bias: Array
) -> tuple[Array, tuple[Array, Array, Array, Array]]:
    steps = _limited(round_scaled(x, scale, form.rounding), form.bits)
    rows = normalize(steps, scale, form.axes, form.bits)
    unit = _RESULT_UNIT * weight_scale
    shift = _bias_steps(form, bias, weight_scale)
    q15 = lax.convert_element_type(rows.steps, jnp.float32)
    product = rounded_product(q15, _over_rows(weight * weight_scale, x))
    total = lax.clamp(-_LARGEST, product + _over_rows(shift, x), _LARGEST)
    y = total * (np.float32(1) / unit)
    y = where_number(jnp.sum(steps, tuple(range(x.ndim - form.axes, x.ndim)), keepdims=True), y)
    return y, (x, weight, rows.mean, rows.reciprocal_deviation)


def _backward(
    form: _Form, residuals: tuple[Array, Array, Array, Array], g: Array
) -> tuple[Array, Array, Array, Array, Array]:
    x, weight, mean, reciprocal_deviation = residuals
    over = tuple(range(x.ndim - form.axes, x.ndim))
    rows = tuple(range(x.ndim - form.axes))
    normalized = (x - mean) * reciprocal_deviation
    inner = g * _over_rows(weight, x)
    along = jnp.mean(inner * normalized, over, keepdims=True)
    of_x = reciprocal_deviation * (inner - jnp.mean(inner, over, keepdims=True) - normalized * along)
    none = jnp.zeros((), jnp.float32)
    return of_x, none, jnp.sum(g * normalized, rows), none, jnp.sum(g, rows)


_integer_layer_norm.defvjp(_forward, _backward)


def _bias_steps(form: _Form, bias: Array, weight_scale: Array) -> Array:
    """The float bias on the grid of the normalized values times the weight: the layer has no use for a state of it."""
    return _limited(round_half_even(bias * (_RESULT_UNIT * weight_scale)), form.bias_bits)


def _limited(v: Array, bits: int) -> Array:
    return lax.clamp(np.float32(-(2 ** (bits - 1))), v, np.float32(2 ** (bits - 1) - 1))


def _over_rows(v: Array, x: Array) -> Array:
    return v.reshape((1,) * (x.ndim - v.ndim) + v.shape)
