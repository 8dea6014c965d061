"""Which tolerance each entry of a file is judged with: ../shared/golden/README.md, section "Format of one case"."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.golden import compare
from tests.golden.case import Case

FLOAT_TOLERANCE = 3e-5
"""Absolute: constrained and float cases, and the float pass of a calibration."""
TRAJECTORY_TOLERANCE = 1e-4
"""Absolute: losses and weights of a trajectory."""

Array = np.ndarray
Judge = Callable[[str, Array, Array], list[str]]


def absolute(name: str, got: Array, want: Array, allowed: float) -> list[str]:
    """Shape and dtype agree, and each entry to ``allowed``."""
    got, want = np.asarray(got), np.asarray(want)
    if got.shape != want.shape or got.dtype != want.dtype:
        return compare.same_bits(name, got, want)
    near = np.abs(got.astype(np.float64) - want.astype(np.float64)) <= allowed
    return compare.same_bits(name, np.where(near, want, got), want)


def running_statistic(name: str, got: Array, want: Array) -> list[str]:
    """2e-6 relative: running means and variances, calibrated thresholds, statistics behind a BatchNorm."""
    return compare.close_relative(name, got, want, compare.CALIBRATED_TOLERANCE)


def float_value(name: str, got: Array, want: Array) -> list[str]:
    """A float computation, whose last bits depend on the order of its sums."""
    return absolute(name, got, want, FLOAT_TOLERANCE)


def judge_of(case: Case, key: str) -> Judge:
    """The comparison of one entry of a layer's file."""
    kind, _, rest = key.partition(".")
    entry = rest.rpartition(".")[2]
    if kind == "grad":
        return compare.gradients
    if case.family == "constrain" or (case.meta["mode"] == "calibrate" and key == "out.y"):
        return float_value
    if entry in ("running_mean", "running_var"):
        return running_statistic
    if entry == "learning_data" and case.meta["mode"] == "calibrate":
        return running_statistic
    if entry == "running_data" and case.op.startswith("BatchNorm"):
        return running_statistic
    if key == "out.y" and _one_step_allowed(case):
        step = 1.0 / float(case.arrays["out.y.scale"])
        return lambda name, got, want: absolute(name, got, want, step)
    return compare.same_bits


def _one_step_allowed(case: Case) -> bool:
    """16-bit activations; a 1-d average pool whose file shows the reference's rebuilt window sum.

    Source: docs/specification/layers.md section 9.
    """
    if "out.y.scale" not in case.arrays:
        return False
    wide = any(int(case.arrays[key]) == 16 for key in ("out.y.bits", "in.x.bits") if key in case.arrays)
    wide = wide or case.meta["config"]["quant_info"]["activate_bits"] == 16 or case.meta.get("input_bits") == 16
    return wide or (case.op == "AvgPool1d" and bool(case.meta.get("defect")))
