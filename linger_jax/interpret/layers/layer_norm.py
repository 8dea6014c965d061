"""LayerNorm in the chip's integers; the gradient is the float layer's.

Source: docs/specification/layers.md section 6, docs/specification/executor.md section 3.3.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.config import RoundMode
from linger_jax.interpret.apply_quantizer import BiasBeside, accept, quantize_bias, quantize_weight, where_number
from linger_jax.interpret.context import Array, Context, Mode, Value
from linger_jax.interpret.integers import at_output
from linger_jax.interpret.integers import operands as operands_of
from linger_jax.interpret.interpreter import interprets
from linger_jax.interpret.layers.operand_roles import by_role, results
from linger_jax.interpret.layers.weighted_layers import BIAS, INPUT, quantize_output
from linger_jax.kinds import LAYER_NORM
from linger_jax.numerics import Accumulator, exponent_of_power_of_two, round_half_even, round_scaled
from linger_jax.numerics.chip_kernels import saturated_int32
from linger_jax.numerics.normalization import EPSILON, EXECUTOR_ROWS, Normalized, RowArithmetic, normalize
from linger_jax.numerics.products import rounded_product
from linger_jax.plan import Node
from linger_jax.plan.graph import ROWS
from linger_jax.quantizers import QTensor

SCALE = ("params", "scale")
_LARGEST = np.float32(2.0**31)


@dataclasses.dataclass(frozen=True)
class _Form:
    """Static half of a LayerNorm.

    Attributes:
      axes: how many trailing ones.
      bits: width of its input.
      rounding: in which the reference brings its input to the grid on which it lies; None: not again.
      bias_bits: width of its bias.
      rows: how it normalizes.
    """

    axes: int
    bits: int
    rounding: RoundMode | None
    bias_bits: int
    rows: RowArithmetic

    @property
    def one(self) -> np.float32:
        """Steps of a normalized value of 1."""
        return np.float32(self.rows.one)


@interprets(LAYER_NORM)
def layer_norm(ctx: Context, node: Node, operands: Sequence[Value]) -> list[Value]:
    """Rule of a LayerNorm over trailing axes; without scale its weight is one, without bias its bias zero."""
    roles, axes = by_role(node, operands), node.layer_info.attributes["axes"]
    path = node.quantizer_path("input_quantizer")
    x = accept(ctx, path, roles[INPUT])
    shape = x.value.shape[x.value.ndim - axes :]
    bias, bias_path = roles.get(BIAS), node.quantizer_path("bias_quantizer")
    gamma = roles.get(SCALE, jnp.ones(shape, jnp.float32))
    arithmetic: RowArithmetic = node.attributes[ROWS]
    one = np.float32(arithmetic.one)
    beside = BiasBeside(bias_path, bias, jnp.asarray(one))
    weight = quantize_weight(ctx, node.quantizer_path("weight_quantizer"), gamma, beside)
    if ctx.in_float:
        if bias is not None and ctx.mode is Mode.calibrate:
            bias = quantize_bias(ctx, bias_path, bias, one * weight.scale).value
        return results(node, quantize_output(ctx, node, _float_layer_norm(axes, x.value, weight.value, bias)))
    rounding = None if ctx.semantics.evaluates_in_integers else ctx.quantizers[path].spec.rounding
    form = _Form(axes, x.bits, rounding, ctx.quantizers[bias_path].spec.bits, arithmetic)
    if bias is not None and ctx.recording is not None:
        ctx.recording.note_bias(bias_path, saturated_int32(_bias_steps(form, bias, weight.scale)))
    shift = jnp.zeros(shape, jnp.float32) if bias is None else bias

    def in_float() -> Array:
        return _integer_layer_norm(form, x.value, x.scale, weight.value, weight.scale, shift)

    # linger's kernel multiplies and adds in float32.
    if arithmetic is not EXECUTOR_ROWS or not ctx.in_integers:
        return results(node, quantize_output(ctx, node, in_float()))
    whole, gamma = operands_of(ctx, x, weight)
    total, unknown = _exact(form, whole, gamma, lax.stop_gradient(shift))
    exponent = exponent_of_power_of_two(one * lax.stop_gradient(weight.scale))
    return results(node, at_output(ctx, node.quantizer_path("output_quantizer"), total, exponent, in_float, unknown))


def _exact(form: _Form, x: QTensor, weight: QTensor, bias: Array) -> tuple[Accumulator, Array]:
    """The layer's sums of integers, and which rows are unknown: a value there is NaN."""
    steps, rows = _normalized(form, x.value, x.scale)
    count = math.prod(x.value.shape[x.value.ndim - form.axes :])
    # No value lies farther than sqrt(T) deviations from the mean of T; the table's last bits add less than a step.
    normalized = Accumulator.of(rows.steps, int((math.isqrt(count) + 2) * form.rows.one))
    gamma = Accumulator.of(saturated_int32(_over_rows(weight.value * weight.scale, x.value)), 2 ** (weight.bits - 1))
    beta = saturated_int32(_over_rows(_bias_steps(form, bias, weight.scale), x.value))
    total = normalized * gamma + Accumulator.of(beta, 2 ** (form.bias_bits - 1))
    return total, jnp.isnan(_of_rows(form, steps))


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
    steps, rows = _normalized(form, x, scale)
    unit = form.one * weight_scale
    shift = _bias_steps(form, bias, weight_scale)
    normalized = lax.convert_element_type(rows.steps, jnp.float32)
    product = rounded_product(normalized, _over_rows(weight * weight_scale, x))
    total = lax.clamp(-_LARGEST, product + _over_rows(shift, x), _LARGEST)
    y = total * (np.float32(1) / unit)
    y = where_number(_of_rows(form, steps), y)
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


def _normalized(form: _Form, x: Array, scale: Array) -> tuple[Array, Normalized]:
    """The integers of x as float32 whole numbers, and their normalized rows."""
    steps = x * scale if form.rounding is None else round_scaled(x, scale, form.rounding)
    steps = _limited(steps, form.bits)
    return steps, normalize(steps, scale, form.axes, form.bits, form.rows)


def _of_rows(form: _Form, steps: Array) -> Array:
    """The sum of each row."""
    return jnp.sum(steps, tuple(range(steps.ndim - form.axes, steps.ndim)), keepdims=True)


def _bias_steps(form: _Form, bias: Array, weight_scale: Array) -> Array:
    """The float bias on the grid of the normalized values times the weight: the layer has no use for a state of it."""
    return _limited(round_half_even(bias * (form.one * weight_scale)), form.bias_bits)


def _limited(v: Array, bits: int) -> Array:
    return lax.clamp(np.float32(-(2 ** (bits - 1))), v, np.float32(2 ** (bits - 1) - 1))


def _over_rows(v: Array, x: Array) -> Array:
    return v.reshape((1,) * (x.ndim - v.ndim) + v.shape)
