"""One evaluation of a model as an exporter needs it: every scale, and the integers of every parameter."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from linger_jax.interpret import Context
from linger_jax.plan import Plan
from linger_jax.quantizers import QuantizerKind
from linger_jax.staging.marker import Path

HostArray = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Record:
    """What an evaluation used.

    Attributes:
      plan: the plan of the call.
      scales: scale of every quantizer, by path.
      values: what every weight and bias quantizer returned; float64, Flax's layout.
      variables: the float model's variables, by path (collection first).
    """

    plan: Plan
    scales: Mapping[Path, float]
    values: Mapping[Path, HostArray]
    variables: Mapping[Path, HostArray]

    def steps(self, path: Path, scale: float | None = None) -> HostArray:
        """The integers of a weight or bias, int64.

        Args:
          path: its quantizer.
          scale: of the grid that the file states: a bias lies on the accumulator's, which is not its quantizer's where
            the scale of its input was changed after training. None: the quantizer's own.
        """
        least, most = -(2 ** (self.bits(path) - 1)), 2 ** (self.bits(path) - 1) - 1
        steps = np.rint(self.values[path] * (self.scales[path] if scale is None else scale))
        return np.clip(steps, least, most).astype(np.int64)

    def bits(self, path: Path) -> int:
        """Width of a quantizer."""
        return self.plan.quantizers[path].spec.bits


def recorded_arrays(ctx: Context) -> tuple[dict[Path, Any], dict[Path, Any]]:
    """Scales, and values of the weight and bias quantizers, of an evaluation in a recording context."""
    assert ctx.recorded is not None
    scales = {path: entries["scale"] for path, entries in ctx.state.items()}
    parameters = {
        path: value.value
        for path, value in ctx.recorded.items()
        if ctx.quantizers[path].spec.kind is not QuantizerKind.activation
    }
    return scales, parameters


def as_record(plan: Plan, arrays: tuple[dict[Path, Any], dict[Path, Any]], variables: Mapping[Path, Any]) -> Record:
    """A record from what :func:`recorded_arrays` returned, on the host."""
    scales, parameters = arrays
    return Record(
        plan,
        {path: float(scale) for path, scale in scales.items()},
        {path: np.asarray(value, np.float64) for path, value in parameters.items()},
        {path: np.asarray(value) for path, value in variables.items()},
    )
