"""Magnitudes counted in bins that no data decides, and what calibration methods read from the counts.

A bin is an octave and the first eight bits behind the leading one: its width is 1/256 to 1/512 of its magnitude. Counts
of batches add up exactly, so the split of the data into batches is not seen in them. Source: docs/decisions.md D25.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import lax

from linger_jax.compat import wide_types
from linger_jax.quantizers.quantizer_spec import QuantizerSpec
from linger_jax.quantizers.wide_sum import as_one, as_two, no_sum

_OCTAVES = range(-24, 32)
"""What is smaller is zero on every grid, what is larger is beyond every grid."""
_BITS = 8
_PER_OCTAVE = 2**_BITS
_BINS = len(_OCTAVES) * _PER_OCTAVE
_DROPPED = np.int32(23 - _BITS)
"""Mantissa bits that do not count."""
_FIRST = np.int32((127 + _OCTAVES.start) << _BITS)
"""The bits that count, of the smallest magnitude."""

_FINE = 2 * _PER_OCTAVE
"""Equal bins of a range, for the entropy: those of its highest octave, and as many below."""
_SMALLEST_SHARE = np.float64(2.0**-20)
"""Probability of a bin where the quantized values have none: a logarithm needs one."""


def no_counts() -> npt.NDArray[np.float32]:
    """The counts of no data, as ``wide_sum``: magnitudes that are zero on every grid, then the bins."""
    return no_sum(1 + _BINS)


def counted(spec: QuantizerSpec, t: jax.Array, counts: jax.Array) -> jax.Array:
    """The counts with one more batch.

    Args:
      spec: the quantizer; not read.
      t: float32 array of any shape.
      counts: of the batches before, float32 [2, 1 + bins].
    """
    del spec
    pattern = lax.bitcast_convert_type(lax.abs(t), jnp.int32).reshape(-1)
    place = lax.shift_right_logical(pattern, jnp.full_like(pattern, _DROPPED)) - _FIRST + np.int32(1)
    found = jnp.zeros(1 + _BINS, jnp.int32).at[lax.clamp(np.int32(0), place, np.int32(_BINS))].add(np.int32(1))
    with wide_types():
        return as_two(as_one(counts) + lax.convert_element_type(found, jnp.float64))


def covering_magnitude(counts: jax.Array, percent: float) -> jax.Array:
    """The upper end of the bin up to which at least so many of the values lie.

    Args:
      counts: of all data, float32 [2, 1 + bins].
      percent: up to 100.

    Returns:
      float32 scalar; 0 where the zeros are enough.
    """
    with wide_types():
        whole = as_one(counts)
        octaves = whole[1:].reshape(len(_OCTAVES), _PER_OCTAVE)
        wanted = jnp.sum(whole) * np.float64(percent / 100)
        up_to = whole[0] + jnp.cumsum(jnp.sum(octaves, axis=1))
        octave = lax.min(jnp.sum(up_to < wanted, dtype=jnp.int32), np.int32(len(_OCTAVES) - 1))
        inside = octaves[octave]
        place = jnp.sum(up_to[octave] - jnp.sum(inside) + jnp.cumsum(inside) < wanted, dtype=jnp.int32)
        place = lax.min(place, np.int32(_PER_OCTAVE - 1))
        are_zero = whole[0] >= wanted
    pattern = octave * np.int32(_PER_OCTAVE) + place + np.int32(1) + _FIRST
    end = lax.bitcast_convert_type(lax.shift_left(pattern, jnp.full_like(pattern, _DROPPED)), jnp.float32)
    return jnp.where(are_zero, np.float32(0), end)


def halvings_of_least_entropy(counts: jax.Array, octave: jax.Array, bits: int) -> jax.Array:
    """How often a range is halved so that what is quantized in it tells most of the data: the search of TensorRT.

    512 equal bins of the range are compared, as probabilities, with what quantization leaves of them: values beyond a
    halved range count for its last bin, and of the bins of one step only the sum is known. Zeros are left out: every
    grid has them.

    Args:
      counts: of all data, float32 [2, 1 + bins].
      octave: int32 scalar: the range is 2^octave, and no magnitude is larger.
      bits: width of the quantizer.

    Returns:
      int32 scalar.

    Source: S. Migacz, 8-bit Inference with TensorRT, GPU Technology Conference 2017.
    """
    steps = 2 ** (bits - 1)
    with wide_types():
        fine = _equal_bins(as_one(counts)[1:].reshape(len(_OCTAVES), _PER_OCTAVE), octave)
        divergences: list[jax.Array] = []
        while (size := _FINE >> len(divergences)) >= steps:
            divergences.append(_divergence(fine, size, steps))
        if len(divergences) < 2:
            return jnp.zeros((), jnp.int32)
        # As float32 numbers: in which order the logarithms were added is not seen.
        found = lax.convert_element_type(jnp.stack(divergences), jnp.float32)
    return lax.argmin(found, 0, jnp.int32)


def _equal_bins(octaves: jax.Array, octave: jax.Array) -> jax.Array:
    """float64 [512]: counts in equal bins of [0, 2^octave), into which the bins of the histogram fit."""
    place = lax.clamp(np.int32(0), octave - np.int32(_OCTAVES.start), np.int32(len(_OCTAVES)))
    padded = jnp.concatenate([jnp.zeros((_BITS + 1, _PER_OCTAVE), octaves.dtype), octaves])
    split = lax.dynamic_slice(padded, (place, np.int32(0)), (_BITS + 1, _PER_OCTAVE))
    parts = [jnp.sum(row.reshape(2**i, -1), axis=1) for i, row in enumerate(split)]
    sums = jnp.sum(octaves, axis=1)
    indices = np.arange(len(_OCTAVES), dtype=np.int32)
    below = jnp.sum(jnp.where(indices < place - np.int32(_BITS + 1), sums, np.float64(0)))
    beyond = jnp.sum(jnp.where(indices >= place, sums, np.float64(0)))
    return jnp.concatenate([below[None], *parts]).at[-1].add(beyond)


def _divergence(fine: jax.Array, size: int, steps: int) -> jax.Array:
    """The entropy of the data relative to that of its quantized form, within the first ``size`` bins."""
    inside, beyond = fine[:size], jnp.sum(fine[size:])
    groups = inside.reshape(steps, -1)
    filled = groups > 0
    each = jnp.sum(groups, axis=1) / lax.max(jnp.sum(filled, axis=1, dtype=jnp.float64), np.float64(1))
    spread = jnp.where(filled, each[:, None], np.float64(0)).reshape(size)
    data = inside.at[-1].add(beyond)
    data = data / lax.max(jnp.sum(data), np.float64(1))
    quantized = lax.max(spread / lax.max(jnp.sum(spread), np.float64(1)), _SMALLEST_SHARE)
    return jnp.sum(
        jnp.where(data > 0, data * lax.log(jnp.where(data > 0, data, np.float64(1)) / quantized), np.float64(0))
    )
