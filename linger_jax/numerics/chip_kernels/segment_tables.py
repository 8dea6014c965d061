"""Piecewise linear tables of the kernels, read from ``linger_jax/numerics/tables``."""

from __future__ import annotations

import dataclasses
import functools
import json
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, eq=False)
class SegmentTable:
    """One kernel's segments; every list has one entry a segment, all int64.

    Attributes:
      upper: last magnitude that belongs to the segment.
      slope_nonneg, slope_neg: slope for inputs >= 0 and < 0.
      bias_nonneg, bias_neg: bias for inputs >= 0 and < 0.
      shift: right shift of the product, where the table has one a segment; zeros otherwise.
      bias_left_shift: brings the biases to the product's Q-format, where no segment shifts the product.
      shift_after_add: brings the sum of both to the result's Q-format, where the table says so.
    """

    upper: Ints
    slope_nonneg: Ints
    slope_neg: Ints
    bias_nonneg: Ints
    bias_neg: Ints
    shift: Ints
    bias_left_shift: int
    shift_after_add: int


def read(name: str) -> dict[str, Any]:
    """Content of ``tables/<name>.json``."""
    text = resources.files("linger_jax.numerics").joinpath(f"tables/{name}.json").read_text("utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


@functools.cache
def segment_table(name: str) -> SegmentTable:
    """The segments in ``tables/<name>.json``; a list without a sign in its name serves both signs."""
    content = read(name)

    def column(*keys: str) -> Ints:
        values = next((content[key] for key in keys if key in content), [0] * content["segments"])
        return np.array(values, np.int64)

    return SegmentTable(
        upper=np.array(content["bands"][1:], np.int64),
        slope_nonneg=column("slope_nonneg", "slopes"),
        slope_neg=column("slope_neg", "slopes"),
        bias_nonneg=column("bias_nonneg", "bias"),
        bias_neg=column("bias_neg", "bias"),
        shift=column("shift"),
        bias_left_shift=content.get("bias_left_shift", content.get("shift_after_multiply", 0)),
        shift_after_add=content.get("shift_after_add", 0),
    )
