"""A ``QGRU`` of a file as the executors of arcs and venusA compute it, whatever scales its labels claim.

Source: docs/specification/executor.md section 5.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.numerics import int64
from linger_jax.numerics.recurrent import float64_integers
from linger_jax.numerics.recurrent.cell_step import StepScales
from linger_jax.numerics.recurrent.cell_variants import executor_gru_variant
from linger_jax.numerics.recurrent.digit_product import digits
from linger_jax.numerics.recurrent.gru_cell import GruCell
from linger_jax.numerics.recurrent.projection import Projection
from linger_jax.targets import Platform

Array = jax.Array

LABEL_FRACTION_BITS = 11
"""Of pre-activations, by the labels of a file; the kernels read them with ``LABEL_SHIFT`` more."""
LABEL_SHIFT = 16
"""By how many bits a file labels its weights coarser than they are, so that the kernels read what was meant."""
_BITS = 8


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
    """All states of sequences, the first from zero.

    Args:
      cell: the static part.
      x: int32 [T, B, I], integers of 8 bits.
      weights: int32 [3 H, I] and [3 H, H], of 8 bits; gates r, z, n.
      biases: int32 [3 H] each, on the real grids of the products.

    Returns:
      int32 [T, B, H], integers of 8 bits at the output's scale.
    """
    width = weights[1].shape[1]
    of_state, bias_of_state = weights[1], biases[1]
    if not cell.gates_read_state:
        of_state, bias_of_state = (of_new_state_alone(v, 0) for v in (of_state, bias_of_state))
    gru = GruCell(executor_gru_variant(cell.platform))
    with int64.region():
        of_input = _projection(weights[0], biases[0], cell.input_exponent)
        of_hidden = _projection(of_state, bias_of_state, cell.hidden_exponent)
        scales = StepScales(
            hidden=jnp.float64(2.0**cell.output_exponent),
            accumulator=jnp.float64(2.0**gru.variant.gates.fraction_bits),
        )

        def step(state: Array, from_input: Array) -> Any:
            raw = gru.step(of_hidden, from_input, (state,), scales).raw
            new = lax.clamp(np.float32(-(2.0 ** (_BITS - 1))), raw, np.float32(2.0 ** (_BITS - 1) - 1))
            return new, new

        from_input = float64_integers.to_int32(of_input(float64_integers.to_float32(x)))
        states = lax.scan(step, jnp.zeros((x.shape[1], width), jnp.float32), from_input)[1]
        return float64_integers.to_int32(states)


def of_new_state_alone(recurrent: Array, axis: int) -> Array:
    """A recurrent weight or bias whose part in reset and update gate is zero: what a chip without that part reads.

    Args:
      recurrent: gates r, z, n along ``axis``.
      axis: of the gates.
    """
    r, z, n = jnp.split(recurrent, 3, axis)
    return jnp.concatenate([jnp.zeros_like(r), jnp.zeros_like(z), n], axis)


def _projection(weight: Array, bias: Array, exponent: int) -> Projection:
    return Projection(
        weight=digits(float64_integers.to_float32(weight.T), _BITS),
        bias=float64_integers.of(bias),
        factor=jnp.float64(2.0 ** (LABEL_FRACTION_BITS - exponent)),
        operand_bits=_BITS,
        spare_bits=0,
        saturates_product=True,
    )
