"""One evaluation of a model as an exporter needs it: every scale, and the integers of every parameter, by place."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from linger_jax.compat import on_host
from linger_jax.export.lower.exported_values import Grid
from linger_jax.interpret import Context, Key, Mode, Place, Recording, State, fixed_values, interpret
from linger_jax.plan import Plan
from linger_jax.quantizers import QTensor
from linger_jax.typing import HostArray, Path


@dataclasses.dataclass(frozen=True, eq=False)
class RecordedArrays:
    """The arrays of a recording: all that leaves the compiled evaluation."""

    scales: Mapping[Key, Any]
    parameters: Mapping[Key, tuple[Any, Any]]
    bias_steps: Mapping[Key, Any]
    results: Mapping[Place, list[Any]]


jax.tree_util.register_dataclass(
    RecordedArrays, data_fields=["scales", "parameters", "bias_steps", "results"], meta_fields=[]
)


@dataclasses.dataclass(frozen=True, eq=False)
class Record:
    """What an evaluation used.

    Attributes:
      plan: the plan of the call.
      scales: of every quantizer, by place and path.
      parameters: what every weight and bias quantizer got and returned; float32, Flax's layout.
      bias_steps: integers of every bias that was added, int32, on the grid of its sum.
      results: of quantized nodes that depend on variables and constants alone: real numbers as float32, or a QTensor.
      variables: the float model's variables, by path (collection first).
      bias_as_evaluated: the integers of a bias are those that evaluation added; else linger's, from the float bias.
    """

    plan: Plan
    scales: Mapping[Key, float]
    parameters: Mapping[Key, tuple[HostArray, HostArray]]
    bias_steps: Mapping[Key, HostArray]
    results: Mapping[Place, Sequence[Any]]
    variables: Mapping[Path, HostArray]
    bias_as_evaluated: bool = False

    def at(self, place: Place) -> Visit:
        """One visit of a node."""
        return Visit(self, place)

    def bits(self, path: Path) -> int:
        """Width of a quantizer."""
        return self.plan.quantizers[path].spec.bits


@dataclasses.dataclass(frozen=True)
class Visit:
    """What one visit of a node used."""

    record: Record
    place: Place

    def scale(self, path: Path) -> float:
        """Scale of a quantizer."""
        return self.record.scales[self.place, path]

    def bits(self, path: Path) -> int:
        """Width of a quantizer."""
        return self.record.bits(path)

    def grid(self, path: Path) -> Grid:
        """Where a quantizer's results lie."""
        return Grid(self.scale(path), self.bits(path))

    def has(self, path: Path) -> bool:
        """Whether a weight or bias quantizer ran."""
        return (self.place, path) in self.record.parameters

    def steps(self, path: Path) -> HostArray:
        """The integers of a weight, int64: what evaluation multiplied with."""
        _, value = self.record.parameters[self.place, path]
        return self._within(path, np.rint(value.astype(np.float64) * self.scale(path)))

    def added_bias(self, path: Path) -> HostArray:
        """The integers of a bias that evaluation added, int64."""
        return self.record.bias_steps[self.place, path].astype(np.int64)

    def bias_steps(self, path: Path, scale: float) -> HostArray:
        """The integers of a bias on the accumulator's grid, int64: those that evaluation added.

        linger writes the bias itself, rounded anew. That is another integer where the scale of the layer's input was
        changed after training, or where the accumulator is finer than a quantizer can be (16-bit operands).

        Args:
          path: its quantizer.
          scale: of the accumulator.
        """
        if self.record.bias_as_evaluated:
            return self.added_bias(path)
        given, _ = self.record.parameters[self.place, path]
        return self._within(path, np.rint(given.astype(np.float32) * np.float32(scale)))

    def _within(self, path: Path, steps: HostArray) -> HostArray:
        most = 2 ** (self.bits(path) - 1)
        return np.clip(steps.astype(np.float64), -most, most - 1).astype(np.int64)


def recorder(plan: Plan, context: type[Context] = Context) -> Callable[[State, list[Any], list[Any]], RecordedArrays]:
    """One evaluation of a plan that keeps every scale and parameter, as a function of state, variables and arrays."""
    fixed = fixed_values(plan.graph, plan.graph.inputs[: len(plan.staged.variables)])

    def run(state: State, leaves: list[Any], arrays: list[Any]) -> RecordedArrays:
        recording = Recording(plan.quantizers, fixed)
        ctx = context(
            settings=plan.settings, quantizers=plan.quantizers, mode=Mode.evaluate, state=state, recording=recording
        )
        interpret(ctx, plan.graph, [*leaves, *arrays])
        return _recorded_arrays(recording)

    return run


def _recorded_arrays(recording: Recording) -> RecordedArrays:
    parameters = {key: (given, result.value) for key, (given, result) in recording.parameters.items()}
    return RecordedArrays(recording.scales, parameters, recording.bias_steps, recording.results)


def as_record(plan: Plan, arrays: RecordedArrays, variables: Mapping[Path, Any]) -> Record:
    """A record on the host."""
    return Record(
        plan,
        {key: float(scale) for key, scale in arrays.scales.items()},
        {key: (on_host(given), on_host(value)) for key, (given, value) in arrays.parameters.items()},
        {key: on_host(steps) for key, steps in arrays.bias_steps.items()},
        {place: [_result(v) for v in values] for place, values in arrays.results.items()},
        {path: on_host(value) for path, value in variables.items()},
    )


def _result(value: Any) -> Any:
    if isinstance(value, QTensor):
        return QTensor(on_host(value.value), on_host(value.scale), value.bits)  # type: ignore[arg-type]
    return on_host(value)
