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
      given: what every weight and bias quantizer got; float32, Flax's layout.
      values: what it returned.
      variables: the float model's variables, by path (collection first).
      bias_as_evaluated: the integers of a bias are those that evaluation added; else linger's, from the float bias.
    """

    plan: Plan
    scales: Mapping[Path, float]
    given: Mapping[Path, HostArray]
    values: Mapping[Path, HostArray]
    variables: Mapping[Path, HostArray]
    bias_as_evaluated: bool = False

    def steps(self, path: Path) -> HostArray:
        """The integers of a weight, int64: what evaluation multiplied with."""
        return self._within(path, np.rint(self.values[path].astype(np.float64) * self.scales[path]))

    def bias_steps(self, path: Path, scale: float) -> HostArray:
        """The integers of a bias on the accumulator's grid, int64.

        That is not its quantizer's grid where the scale of the layer's input was changed after training, or where the
        accumulator is finer than a quantizer can be (16-bit operands). linger writes the bias itself, rounded anew.
        What evaluation added is rounded down to a coarser grid: an accumulator that is rounded by ``floor_add`` behind
        it does not see what is lost.

        Args:
          path: its quantizer.
          scale: of the accumulator.
        """
        if self.bias_as_evaluated:
            return self._within(path, np.floor(self.values[path].astype(np.float64) * scale))
        return self._within(path, np.rint(self.given[path].astype(np.float32) * np.float32(scale)))

    def _within(self, path: Path, steps: HostArray) -> HostArray:
        most = 2 ** (self.bits(path) - 1)
        return np.clip(steps.astype(np.float64), -most, most - 1).astype(np.int64)

    def bits(self, path: Path) -> int:
        """Width of a quantizer."""
        return self.plan.quantizers[path].spec.bits


def recorded_arrays(ctx: Context) -> tuple[dict[Path, Any], dict[Path, Any]]:
    """Scales, and values of the weight and bias quantizers, of an evaluation in a recording context."""
    assert ctx.recorded is not None
    scales = {path: entries["scale"] for path, entries in ctx.state.items()}
    parameters = {
        path: (given, value.value)
        for path, (given, value) in ctx.recorded.items()
        if ctx.quantizers[path].spec.kind is not QuantizerKind.activation
    }
    return scales, parameters


def as_record(plan: Plan, arrays: tuple[dict[Path, Any], dict[Path, Any]], variables: Mapping[Path, Any]) -> Record:
    """A record from what :func:`recorded_arrays` returned, on the host."""
    scales, parameters = arrays
    return Record(
        plan,
        {path: float(scale) for path, scale in scales.items()},
        {path: np.asarray(given) for path, (given, _) in parameters.items()},
        {path: np.asarray(value) for path, (_, value) in parameters.items()},
        {path: np.asarray(value) for path, value in variables.items()},
    )
