"""Telling numbers whose bytes stand in the wrong order: weights have magnitudes that such numbers have not."""

from __future__ import annotations

from typing import Any

import numpy as np

_SAMPLE = 4096
_FEWEST = 8
# Magnitudes of weights and statistics, generously, and those that numbers of random exponents mostly leave.
_PLAUSIBLE = (1e-10, 1e6)
_STRANGE = (1e-15, 1e15)
_STRANGE_SHARE = 0.25


def has_swapped_bytes(array: np.ndarray[Any, Any]) -> bool:
    """Whether many numbers are absurd as they stand, and all are weights with their bytes turned around.

    Args:
      array: float32; the first few thousand numbers are looked at. Zeros tell nothing, and few numbers neither.
    """
    sample = array.reshape(-1)[:_SAMPLE]
    sample = sample[sample != 0]
    if sample.size < _FEWEST or np.mean(_outside(sample, _STRANGE)) < _STRANGE_SHARE:
        return False
    return not _outside(np.ascontiguousarray(sample).byteswap(), _PLAUSIBLE).any()


def _outside(values: np.ndarray[Any, Any], bounds: tuple[float, float]) -> np.ndarray[Any, Any]:
    with np.errstate(invalid="ignore"):  # signalling NaN
        magnitudes = np.abs(values.astype(np.float64))
    return ~((magnitudes >= bounds[0]) & (magnitudes <= bounds[1]))
