"""How computed and golden arrays are compared; every function returns its mismatches as text, none when all agree."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

GRADIENT_TOLERANCE = 2e-5
"""Absolute, times 1 + the largest magnitude of the golden gradient."""
CALIBRATED_TOLERANCE = 2e-6
"""Relative: ``learning_data`` from calibration, running statistics."""


def same_bits(name: str, got: npt.ArrayLike, want: npt.ArrayLike) -> list[str]:
    """Shape, dtype and every bit agree; any NaN equals any other, +0 and -0 differ."""
    got, want = np.asarray(got), np.asarray(want)
    form = _same_form(name, got, want)
    if form or got.size == 0:
        return form
    differ = got != want
    if np.issubdtype(want.dtype, np.floating):
        differ = (differ & ~(np.isnan(got) & np.isnan(want))) | (np.signbit(got) != np.signbit(want)) & (want == 0)
    return _worst(name, got, want, differ)


def close_to_largest(name: str, got: npt.ArrayLike, want: npt.ArrayLike, tolerance: float) -> list[str]:
    """Shape and dtype agree, and entries to ``tolerance`` * (1 + largest magnitude of ``want``); NaN equals NaN."""
    got, want = np.asarray(got), np.asarray(want)
    form = _same_form(name, got, want)
    if form or got.size == 0:
        return form
    finite = np.abs(want[np.isfinite(want)])
    allowed = tolerance * (1 + (float(finite.max()) if finite.size else 0.0))
    return _worst(name, got, want, ~_near(got, want, allowed))


def close_relative(name: str, got: npt.ArrayLike, want: npt.ArrayLike, tolerance: float) -> list[str]:
    """Shape and dtype agree, and each entry to ``tolerance`` of its own magnitude."""
    got, want = np.asarray(got), np.asarray(want)
    form = _same_form(name, got, want)
    if form or got.size == 0:
        return form
    with np.errstate(invalid="ignore"):
        return _worst(name, got, want, ~_near(got, want, tolerance * np.abs(want)))


def gradients(name: str, got: npt.ArrayLike, want: npt.ArrayLike) -> list[str]:
    """``close_to_largest`` with the tolerance of gradients."""
    return close_to_largest(name, got, want, GRADIENT_TOLERANCE)


def same_keys(name: str, got: Mapping[str, object], want: Mapping[str, object]) -> list[str]:
    """Both mappings have the same keys."""
    missing, surplus = sorted(set(want) - set(got)), sorted(set(got) - set(want))
    texts = [("lacks", missing), ("has unexpected", surplus)]
    return [f"{name} {verb} {', '.join(keys)}" for verb, keys in texts if keys]


def same_arrays(name: str, got: Mapping[str, npt.ArrayLike], want: Mapping[str, npt.ArrayLike]) -> list[str]:
    """Both mappings have the same keys, and arrays of the same bits."""
    wrong = same_keys(name, got, want)
    return wrong + [text for key in want if key in got for text in same_bits(f"{name}.{key}", got[key], want[key])]


def _same_form(name: str, got: np.ndarray, want: np.ndarray) -> list[str]:
    if got.shape != want.shape:
        return [f"{name}: shape {got.shape}, golden {want.shape}"]
    if got.dtype != want.dtype:
        return [f"{name}: dtype {got.dtype}, golden {want.dtype}"]
    return []


def _near(got: np.ndarray, want: np.ndarray, allowed: npt.ArrayLike) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        near: np.ndarray = np.abs(got.astype(np.float64) - want.astype(np.float64)) <= allowed
    return near | (got == want) | (np.isnan(got) & np.isnan(want))


def _worst(name: str, got: np.ndarray, want: np.ndarray, differ: np.ndarray) -> list[str]:
    if not differ.any():
        return []
    where = tuple(int(i) for i in np.argwhere(differ)[0])
    place = f" at {where}" if where else ""
    return [
        f"{name}: {int(differ.sum())} of {differ.size} differ, first{place}: {got[where]!r}, golden {want[where]!r}"
    ]
