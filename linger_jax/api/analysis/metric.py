"""The user's own measure of an output, for the float and the quantized run."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Callable
from typing import Any

import numpy as np

from linger_jax.errors import LingerError

UserMetric = Callable[[Any, Any], Any]
"""Of the model's output and the batch as it was given: a number."""


@dataclasses.dataclass(frozen=True)
class Metric:
    """The user's metric: its mean over the batches, weighted by their lengths.

    Attributes:
      of_float: of the float run.
      of_quantized: of the quantized run.
    """

    of_float: float
    of_quantized: float


class Metrics:
    """What the metric returned for each batch; read when all batches are through, so that none waits for another."""

    def __init__(self, metric: UserMetric | None) -> None:
        self._metric = metric
        self._lengths: list[int] = []
        self._values: list[tuple[Any, Any]] = []

    def take(self, outputs: tuple[Any, Any], batch: Any, arrays: list[Any]) -> None:
        """Measures the outputs of one batch.

        Args:
          outputs: of the float and of the quantized run.
          batch: as the user gave it.
          arrays: of the call; the first one's leading axis is the length of the batch.

        Raises:
          LingerError: the metric returns no number.
        """
        if self._metric is None:
            return
        real, quantized = (_number(self._metric(output, batch)) for output in outputs)
        shape = next((a.shape for a in arrays if a.shape), (1,))
        self._lengths.append(shape[0])
        self._values.append((real, quantized))

    def mean(self) -> Metric | None:
        """The means; None without a metric.

        Raises:
          LingerError: a value is NaN or infinite.
        """
        if self._metric is None:
            return None
        values = np.asarray([[float(value) for value in pair] for pair in self._values], np.float64)
        for batch, run in np.argwhere(~np.isfinite(values)):
            name = ("float", "quantized")[run]
            raise LingerError(
                f"analyse: metric returned {values[batch, run]} for the {name} output of batch {batch + 1}; it has to "
                "return a finite number"
            )
        means = np.average(values, axis=0, weights=np.asarray(self._lengths, np.float64))
        return Metric(float(means[0]), float(means[1]))


def _number(value: Any) -> Any:
    """The value, if it is a real number or an array of one; it is not read here."""
    kind, shape = getattr(value, "dtype", None), getattr(value, "shape", None)
    if type(value) is not bool and isinstance(value, numbers.Real):
        return value
    if shape == () and kind is not None and kind.kind not in "bcOUSV":
        return value
    shown = f"an array of shape {shape} and type {kind}" if shape is not None else f"{type(value).__name__} {value!r}"
    raise LingerError(
        f"analyse: metric returned {shown}; it is called with (output, batch) and has to return one real number, for "
        "example the mean accuracy of the batch"
    )
