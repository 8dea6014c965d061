"""Inputs that reach every segment, edge and extreme of the kernels."""

from __future__ import annotations

import numpy as np

from tests.numerics.chip_kernels.integer_model import table

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
EVERY_16_BIT = np.arange(-(2**15), 2**15, dtype=np.int32)


def band_edges(name: str) -> np.ndarray:
    """Every band edge of a table and its neighbours on both sides, in both signs, and the ends of int32."""
    edges = np.array(table(name)["bands"], np.int64)
    around = (edges[:, None] + np.arange(-2, 3)).reshape(-1)
    ends = [INT32_MIN, INT32_MIN + 1, INT32_MIN + 2, INT32_MAX - 1, INT32_MAX]
    return np.unique(np.clip([*around, *-around, *ends], INT32_MIN, INT32_MAX)).astype(np.int32)


def dense(seed: int, count: int = 20_000) -> np.ndarray:
    """int32 values of every magnitude."""
    rng = np.random.default_rng(seed)
    wide = rng.integers(INT32_MIN, INT32_MAX + 1, count)
    return (wide >> rng.integers(0, 31, count)).astype(np.int32)


def rows_of_every_kind(n: int, seed: int = 0) -> np.ndarray:
    """int32 rows [m, n] for softmax: ties, extremes, alternation, random rows of every width, small grids."""
    rng = np.random.default_rng(seed)
    rows = [np.full(n, v) for v in (0, 1, -1, 2**25, INT32_MIN, INT32_MIN + 1, INT32_MAX)]
    rows.append(np.where(np.arange(n) % 2 == 0, INT32_MAX, INT32_MIN))
    rows.append(np.where(np.arange(n) == n - 1, INT32_MAX, INT32_MIN))
    rows.append(np.where(np.arange(n) == 0, INT32_MIN + 1, INT32_MIN))
    rows.append(np.linspace(INT32_MIN, INT32_MAX, n).astype(np.int64))
    rows += [rng.integers(-(2**w), 2**w, n) for w in range(1, 32)]
    rows += [rng.integers(-128, 128, n) << p for p in (17, 20, 23, 24)]
    rows += [rng.integers(-2048, 2048, n) << 16, rng.integers(-8, 8, n) << 25]
    return np.array(rows, np.int64).astype(np.int32)
