"""The GRU of the executors of arcs and venusA: gates of 7 bits, and a halved state.

Source: docs/specification/executor.md section 5.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.config import RoundMode
from linger_jax.numerics import int64
from linger_jax.numerics.accumulator import Accumulator
from linger_jax.numerics.chip_kernels import sigmoid, tanh
from linger_jax.numerics.products import contraction
from linger_jax.targets import Platform

Array = jax.Array

_GATE_BITS = 7
_ONE = np.int64(2**_GATE_BITS)
_KERNEL_FRACTION_BITS = 11
"""Of pre-activations; the kernels read them as Q27, which the labels of the weights make up for."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExecutorGru:
    """The static part of a cell.

    Attributes:
      platform: whose kernels compute the gates.
      input_exponent: log2 of the scale of the input's product, as the file labels it.
      hidden_exponent: log2 of the scale of the state's product, as the file labels it.
      output_exponent: log2 of the scale of the state.
      gates_read_state: reset and update gate have a recurrent part.
    """

    platform: Platform
    input_exponent: int
    hidden_exponent: int
    output_exponent: int
    gates_read_state: bool


def run_executor_gru(cell: ExecutorGru, x: Array, weights: tuple[Array, Array], biases: tuple[Array, Array]) -> Array:
    """All states of one sequence, the first from zero.

    Args:
      cell: the static part.
      x: int32 [T, I], integers of 8 bits.
      weights: int32 [3 H, I] and [3 H, H], of 8 bits; gates r, z, n.
      biases: int32 [3 H] each, on the real grids of the products.

    Returns:
      int32 [T, H], integers of 8 bits at the output's scale.
    """
    from_input = _regridded(_product(x, weights[0], biases[0]), cell.input_exponent)

    def step(h: Array, a: Array) -> tuple[Array, Array]:
        b = _regridded(_product(h, weights[1], biases[1]), cell.hidden_exponent)
        new = _stepped(cell, h, jnp.split(a, 3, -1), jnp.split(b, 3, -1))
        return new, new

    return lax.scan(step, jnp.zeros(weights[1].shape[1], jnp.int32), from_input)[1]


def _stepped(cell: ExecutorGru, h: Array, a: list[Array], b: list[Array]) -> Array:
    r, z = (
        sigmoid(_saturated_sum(a[i], b[i]) if cell.gates_read_state else a[i], cell.platform, _GATE_BITS)
        for i in range(2)
    )
    with int64.region():
        reset = int64.narrow(int64.round_shift(int64.of(r) * int64.of(b[2]), _GATE_BITS))
    n = tanh(_saturated_sum(a[2], reset), cell.platform, _GATE_BITS)
    with int64.region():
        kept = int64.of(z) * int64.round_shift(int64.of(h), 1)
        total = kept + (_ONE - int64.of(z)) * int64.of(n)
        moved = int64.round_shift(total, 2 * _GATE_BITS - cell.output_exponent)
        return lax.convert_element_type(int64.saturate(moved, 8), jnp.int32)


def _product(x: Array, weight: Array, bias: Array) -> Accumulator:
    """sat_32(W x + b)."""
    dimensions = (((x.ndim - 1,), (1,)), ((), ()))
    total = contraction(x, weight, dimensions, x_bits=8, y_bits=8)
    total = total + Accumulator.of(jnp.broadcast_to(bias, total.value.shape), 2**31)
    return Accumulator.of(total.requantized(0, 32, RoundMode.floor_add, as_float32=False), 2**31)


def _regridded(total: Accumulator, exponent: int) -> Array:
    shift = exponent - _KERNEL_FRACTION_BITS
    return total.requantized(shift, 32, RoundMode.floor_add, as_float32=False)


def _saturated_sum(a: Array, b: Array) -> Array:
    with int64.region():
        return int64.narrow(int64.of(a) + int64.of(b))
