"""What is counted of one node and of one quantizer: sums and largest values, added up over batches.

All of it is one number, a row of 24 or one number a channel, whatever the size of the data. Sums over batches are kept
as two float32 numbers, which hold 48 bits: a thousand batches lose nothing that a decibel shows.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.compat import wide_types
from linger_jax.numerics import LARGEST_EXPONENT, power_of_two, round_scaled
from linger_jax.quantizers import QTensor, QuantizerSpec
from linger_jax.typing import Path

Array = jax.Array
_EXPONENTS = np.arange(LARGEST_EXPONENT + 1, dtype=np.int32)
_LOOKED_AT = 8192
"""Values of a tensor and batch from which errors by exponent are taken: a regular sample, so that 24 grids cost little."""
_COUNTED_BELOW = np.float32(1e18)
"""Larger magnitudes (masks of attention) are left out: their squares are beyond float32."""
_FARTHEST = np.float32(2.0**30)
_NEVER = np.float32(-np.inf)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Tally:
    """Numbers that are added over batches and iterations, and numbers of which the largest counts."""

    sums: dict[str, Array]
    largest: dict[str, Array]


Tallies = dict[int, dict[Path, Tally]]
"""By row of the plan; in it by path of the quantizer, the empty path for the node's result."""
RESULT: Path = ()


def of_result(
    pairs: tuple[tuple[Array, Array], tuple[Array, Array]], batch: Array, *, rectified: bool, by_channel: bool
) -> Tally:
    """Compares what a node returns.

    Args:
      pairs: the float result and the quantized one, accumulated from the input; the same of the node alone.
      batch: float32 scalar, the number of the batch.
      rectified: what is negative does not count, since a relu follows.
      by_channel: whether to look at each channel (of the last axis) of the node alone.
    """
    sums, largest = {}, {}
    for name, (real, quantized) in zip(("accumulated", "alone"), pairs, strict=True):
        nan = jnp.isnan(real).any(), (jnp.isnan(quantized) & ~jnp.isnan(real)).any()
        x, y = (jnp.maximum(value, np.float32(0)) for value in (real, quantized)) if rectified else (real, quantized)
        counts = (jnp.abs(x) < _COUNTED_BELOW) & (jnp.abs(y) < _COUNTED_BELOW)
        x, y = (jnp.where(counts, value, np.float32(0)) for value in (x, y))
        sums |= {f"{name}.{what}": value for what, value in _products(x, y).items()}
        largest[f"{name}.error"] = jnp.max(jnp.abs(y - x))
        largest[f"{name}.real_nan_in"] = jnp.where(nan[0], -batch, _NEVER)
        largest[f"{name}.quantized_nan_in"] = jnp.where(nan[1], -batch, _NEVER)
    sums["count"] = jnp.float32(math.prod(pairs[0][0].shape))
    if by_channel:
        sums["rectified"] = jnp.float32(rectified)
        axes = tuple(range(pairs[1][0].ndim - 1))
        sums["values_of_a_channel"] = jnp.float32(math.prod(pairs[1][0].shape[:-1]))
        for name, value in zip(("real", "quantized"), pairs[1], strict=True):
            largest[f"channels.{name}"] = jnp.max(value, axes)
            largest[f"channels.minus_{name}"] = jnp.max(-value, axes)
    return Tally(sums, largest)


def _products(x: Array, y: Array) -> dict[str, Array]:
    error = y - x
    return {
        "signal": jnp.sum(x * x),
        "quantized": jnp.sum(y * y),
        "product": jnp.sum(x * y),
        "noise": jnp.sum(error * error),
    }


def of_quantizer(spec: QuantizerSpec, x: Array, result: QTensor, *, rectified: bool = False) -> Tally:
    """What a quantizer does to its values.

    Args:
      spec: the quantizer.
      x: float32 array, what it quantizes.
      result: what it returns, of which the scale and bits count.
      rectified: what is negative does not count.
    """
    low, high = (np.float32(limit) for limit in (-(2 ** (result.bits - 1)), 2 ** (result.bits - 1) - 1))
    x = jnp.where(jnp.abs(x) < _COUNTED_BELOW, x, np.float32(0))
    x = jnp.maximum(x, np.float32(0)) if rectified else x
    steps = x * result.scale
    beyond = (steps > high + np.float32(0.5)) | (steps < low - np.float32(0.5))
    sample = _sample(x)

    def error(exponent: Array) -> Array:
        scale = power_of_two(exponent)
        whole = lax.clamp(low, round_scaled(sample, scale, spec.rounding_in_evaluation), high)
        distance = lax.min(lax.abs(sample * scale - whole), _FARTHEST)
        return jnp.sum(distance * distance)

    sums = {
        "count": jnp.float32(math.prod(x.shape)),
        "clipped": jnp.sum(beyond, dtype=jnp.float32),
        "errors": jax.vmap(error)(_EXPONENTS),
        "power": jnp.sum(sample * sample),
    }
    largest = {"steps": jnp.max(jnp.abs(steps)), "magnitude": jnp.max(jnp.abs(x)), "scale": result.scale}
    return Tally(sums, largest)


def of_sum(result: Array, scale: Array) -> Array:
    """The largest magnitude of a layer's sums in steps of its products: float32 scalar."""
    counted = jnp.where(jnp.abs(result) < _COUNTED_BELOW, result, np.float32(0))
    return jnp.max(jnp.abs(counted)) * scale


def _sample(x: Array) -> Array:
    """At most about ``_LOOKED_AT`` values, at a distance that no axis is a multiple of, so that all channels are seen."""
    distance = max(1, math.ceil(x.size / _LOOKED_AT))
    while distance > 1 and any(math.gcd(distance, extent) > 1 for extent in x.shape):
        distance += 1
    return x.reshape(-1)[::distance]


def over_iterations(tally: Tally) -> Tally:
    """One tally of those of all iterations of a loop, which are their leading axis."""
    sums = {name: jnp.sum(value, 0) for name, value in tally.sums.items()}
    return Tally(sums, {name: jnp.max(value, 0) for name, value in tally.largest.items()})


@jax.jit
def first(tallies: Tallies) -> Tallies:
    """The tallies of the first batch, in the form of a total."""
    return jax.tree.map(_begun, tallies, is_leaf=_is_tally)


@jax.jit
def added(total: Tallies, tallies: Tallies) -> Tallies:
    """A total and one more batch."""
    return jax.tree.map(_joined, total, tallies, is_leaf=_is_tally)


def _begun(tally: Tally) -> Tally:
    return Tally({name: jnp.stack([v, jnp.zeros_like(v)]) for name, v in tally.sums.items()}, tally.largest)


def _joined(total: Tally, tally: Tally) -> Tally:
    with wide_types():
        sums = {}
        for name, value in tally.sums.items():
            wide = jnp.sum(lax.convert_element_type(total.sums[name], jnp.float64), 0)
            wide = wide + lax.convert_element_type(value, jnp.float64)
            high = lax.convert_element_type(wide, jnp.float32)
            rest = wide - lax.convert_element_type(high, jnp.float64)
            sums[name] = jnp.stack([high, lax.convert_element_type(rest, jnp.float32)])
    largest = {name: jnp.maximum(total.largest[name], value) for name, value in tally.largest.items()}
    return Tally(sums, largest)


def _is_tally(value: Any) -> bool:
    return isinstance(value, Tally)
