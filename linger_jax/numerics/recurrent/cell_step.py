"""What a step of a cell reads and returns besides its state."""

from __future__ import annotations

import dataclasses
from typing import Generic, TypeVar

import jax
import jax.numpy as jnp

Left = TypeVar("Left")


@dataclasses.dataclass(frozen=True)
class StepScales:
    """float64: integer steps per unit of the hidden state, a scalar, and of the accumulator, which may be [G*H]."""

    hidden: jax.Array
    accumulator: jax.Array


@dataclasses.dataclass(frozen=True)
class StepResult(Generic[Left]):
    """Result of one step.

    Attributes:
      raw: new hidden state, float32 integers [B, H], not saturated yet.
      others: the rest of the new state.
      left: what the backward pass reads.
      exact: the new hidden state as float32 numbers, before it was rounded to its grid.
    """

    raw: jax.Array
    others: tuple[jax.Array, ...]
    left: Left
    exact: jax.Array


def over_time(left: jax.Array, right: jax.Array) -> jax.Array:
    """sum of left^T right over steps and rows, [T, B, M], [T, B, N] -> [M, N]: gradient of a matrix that all share."""
    rows = left.shape[0] * left.shape[1]
    return jnp.matmul(left.reshape(rows, -1).T, right.reshape(rows, -1))
