"""From pre-activations to gates, and the slopes of the float functions that the backward pass uses."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.numerics.chip_kernels import saturated_to, sigmoid, tanh
from linger_jax.numerics.recurrent import float64_integers
from linger_jax.numerics.recurrent.cell_variants import GateVariant

_ONE = np.float32(1)


def sigmoid_gate(variant: GateVariant, pre: jax.Array, fraction_bits: int) -> jax.Array:
    """Sigmoid kernel of int32 pre-activations, rounded to Q(fraction_bits): float64 numbers, about 0 to 1.

    Inside ``int64.region()``.
    """
    return _number(variant, sigmoid(_in_range(variant, pre), variant.platform, variant.kernel_bits), fraction_bits)


def tanh_gate(variant: GateVariant, pre: jax.Array, fraction_bits: int) -> jax.Array:
    """Tanh kernel of int32 pre-activations, rounded to Q(fraction_bits): float64 numbers, -1 to about 1.

    Inside ``int64.region()``.
    """
    return _number(variant, tanh(_in_range(variant, pre), variant.platform, variant.kernel_bits), fraction_bits)


def sigmoid_slope(variant: GateVariant, pre: jax.Array) -> jax.Array:
    """Derivative of the float sigmoid at int32 pre-activations, before any saturation to 16 bits: float32."""
    small = jnp.exp(-jnp.abs(_real(variant, pre)))
    return small / jnp.square(_ONE + small)


def tanh_slope(variant: GateVariant, pre: jax.Array) -> jax.Array:
    """Derivative of the float tanh at int32 pre-activations, before any saturation to 16 bits: float32."""
    # 1 - tanh^2 would keep no digit of a slope that is nearly zero.
    small = jnp.exp(np.float32(-2) * jnp.abs(_real(variant, pre)))
    return np.float32(4) * small / jnp.square(_ONE + small)


def _number(variant: GateVariant, value: jax.Array, fraction_bits: int) -> jax.Array:
    """The kernel's answer as a number, computed once.

    XLA repeats elementwise work in each of its readers, a whole kernel for each here, unless it ends in a division by
    what might not be a constant.
    """
    rounded = float64_integers.round_shift(float64_integers.of(value), variant.kernel_bits - fraction_bits)
    unit = jnp.where(rounded == rounded, np.float64(2.0**fraction_bits), np.float64(np.nan))
    return rounded / unit


def _in_range(variant: GateVariant, pre: jax.Array) -> jax.Array:
    return saturated_to(pre, variant.input_bits)


def _real(variant: GateVariant, pre: jax.Array) -> jax.Array:
    return lax.convert_element_type(pre, jnp.float32) * np.float32(2.0**-variant.fraction_bits)
