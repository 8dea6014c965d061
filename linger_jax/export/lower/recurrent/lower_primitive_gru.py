"""A GRU of operators: the nodes of every step of one direction.

Source: docs/decisions.md D34, docs/specification/executor.md sections 4 and 5.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from linger_jax.config import RoundMode
from linger_jax.export.lower.emitter import stored
from linger_jax.export.lower.exported_values import Grid, HostValue, TensorValue
from linger_jax.export.lower.lower_moves import sliced
from linger_jax.export.lower.lower_operators import joined
from linger_jax.export.lower.lower_weighted import reshaped
from linger_jax.export.lower.lowering_step import LoweringStep
from linger_jax.kinds import BIAS_BITS, GATES, OnnxOperator
from linger_jax.kinds import onnx_operators as ops
from linger_jax.numerics.chip_kernels import sigmoid, tanh
from linger_jax.numerics.look_up import FIRST_OPERAND, TABLE_SIZE
from linger_jax.numerics.recurrent import GATE_SCALE, PRE_ACTIVATION_SCALES, opposite_of_update
from linger_jax.plan.decide import quantizer_name
from linger_jax.targets import Platform
from linger_jax.typing import HostArray

_BITS = 8
_TIME = 1
_GATE = Grid(GATE_SCALE, _BITS)
_GATES, _NEW = Grid(PRE_ACTIVATION_SCALES[0], _BITS), Grid(PRE_ACTIVATION_SCALES[2], _BITS)
_MOST_PARTS = 5
"""Of a concatenation, as far as executors were measured (docs/specification/executor.md section 3, row QCat)."""
_KERNEL_FRACTION_BITS = 27
"""In which the kernels of the measured executors read (docs/specification/executor.md section 1, act)."""


def unrolled(step: LoweringStep, x: TensorValue, direction: int, *, backwards: bool) -> tuple[TensorValue, TensorValue]:
    """The nodes of one direction.

    Args:
      step: the layer.
      x: samples, time and features, in Flax's order.
      direction: 0 forward, 1 reverse.
      backwards: from the last step to the first.

    Returns:
      The states of all steps in the order of time, and the last one that is computed, its axis of time one long.

    Raises:
      ExportError: an initial state that is no input of the file.
    """
    cell = _Cell(step, direction)
    steps = x.shape[_TIME]
    of_gates, of_new = (cell.product(x, "ih", part) for part in cell.parts)
    order = range(steps)[::-1] if backwards else range(steps)
    state = cell.first(cut(step, x, _TIME, order[0], order[0] + 1), direction)
    states = {}
    for t in order:
        gates, new = (cut(step, product, _TIME, t, t + 1) for product in (of_gates, of_new))
        state = cell.next(gates, new, state)
        states[t] = state
    return cell.joined([states[t] for t in range(steps)]), state


def cut(step: LoweringStep, value: TensorValue, axis: int, start: int, end: int) -> TensorValue:
    """A piece of one axis."""
    ranges = [(start, end) if a == axis else (0, n) for a, n in enumerate(value.shape)]
    starts, ends = zip(*ranges, strict=True)
    return sliced(step, value, starts, ends, [1] * value.rank, tuple(e - s for s, e in ranges))


@dataclasses.dataclass(frozen=True)
class _Part:
    """Rows of the weights that one product holds: those of reset and update gate, or of the new state."""

    name: str
    first: int
    last: int
    grid: Grid


class _Cell:
    def __init__(self, step: LoweringStep, direction: int) -> None:
        self.step, self.emit = step, step.emit
        self.width = int(step.node.layer_info.attributes["features"])
        self.paths = {
            name: step.quantizer_path(quantizer_name(name, direction))
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "hidden")
        }
        self.suffix = "_reverse" if direction else ""
        self.state = Grid(self.emit.visit.scale(self.paths["hidden"]), _BITS)
        self.parts = (
            _Part("gates", 0, 2 * self.width, _GATES),
            _Part("new", 2 * self.width, GATES["gru"] * self.width, _NEW),
        )
        self.opposite, self.tanh = _tables(Platform(self.emit.platform))

    def next(self, of_gates: TensorValue, of_new: TensorValue, state: TensorValue) -> TensorValue:
        """The state behind one step, from the input's products of that step and the state before it."""
        from_gates, from_new = (self.product(state, "hh", part) for part in self.parts)
        pre, last = self.of_two(ops.QADD, of_gates, from_gates, _GATES), state.rank - 1
        gates = self.function(ops.QSIGMOID, pre)
        reset = cut(self.step, gates, last, 0, self.width)
        update = cut(self.step, gates, last, self.width, 2 * self.width)
        opposite = self.function(ops.QTABLE, cut(self.step, pre, last, self.width, 2 * self.width), self.opposite)
        read = self.of_two(ops.QMUL, reset, from_new, _NEW)
        new = self.function(ops.QTABLE, self.of_two(ops.QADD, of_new, read, _NEW), self.tanh)
        kept = self.of_two(ops.QMUL, update, state, self.state)
        added = self.of_two(ops.QMUL, opposite, new, self.state)
        return self.of_two(ops.QADD, kept, added, self.state)

    def product(self, x: TensorValue, side: str, part: _Part) -> TensorValue:
        """``QLinear`` of the input (side ``ih``) or of the state (``hh``)."""
        assert x.grid is not None
        weight, bias = self.paths[f"weight_{side}"], self.paths[f"bias_{side}"]
        grid, visit = self.emit.visit.grid(weight), self.emit.visit
        rows = visit.steps(weight).T[part.first : part.last]
        steps = np.zeros(GATES["gru"] * self.width, np.int64)
        if visit.has(bias):
            steps = visit.bias_steps(bias, x.grid.scale * grid.scale)
        added = steps.reshape(-1)[part.first : part.last]
        inputs = [x.tensor, self.constant(f"weight_{side}", part.name, rows, grid.bits)]
        inputs.append(self.constant(f"bias_{side}", part.name, added, BIAS_BITS))
        return self.linear(x, inputs, part.grid, grid)

    def first(self, x: TensorValue, direction: int) -> TensorValue:
        """The state before the first step: what is given, or zero."""
        given = self.step.by_role().get(("initial", str(direction), "h"))
        if given is None or (isinstance(given, HostValue) and not given.array.any()):
            return self.nothing(x)
        if isinstance(given, HostValue):
            raise self.step.error("a constant initial state has no form in a file; make it an input of the model")
        if given.grid is not None and given.grid != self.state:
            raise self.step.error("an initial state on a grid of its own has no form in a file; give it as a float")
        if given.grid is None:
            attributes = {"scale_x": self.state.scale, "data_bits": self.state.bits, "zero_point": 0}
            given = self.emit.integers(
                ops.QUANT, [given.tensor], self.state, given, attributes=attributes, node=self.step.node
            )
        return reshaped(self.step, given, (*x.shape[:-1], self.width))

    def nothing(self, x: TensorValue) -> TensorValue:
        """A state of zeros: a product without weights, since an executor's products read no constant as data."""
        assert x.grid is not None
        weight = np.zeros((self.width, x.shape[-1]), np.int64)
        inputs = [x.tensor, self.constant("weight", "zero", weight, _BITS)]
        inputs.append(self.constant("bias", "zero", np.zeros(self.width, np.int64), BIAS_BITS))
        return self.linear(x, inputs, self.state, self.state)

    def linear(self, x: TensorValue, inputs: Sequence[str], output: Grid, weight: Grid) -> TensorValue:
        """One ``QLinear``."""
        shape = (*x.shape[:-1], self.emit.graph.constants[inputs[1]].shape[0])
        attributes = {**self.act(x, output), "w_bits": weight.bits, "scale_w": weight.scale}
        return self.emit.integers(
            ops.QLINEAR, inputs, output, x.laid(shape, x.axes), attributes=attributes, node=self.step.node
        )

    def of_two(self, operator: OnnxOperator, x: TensorValue, y: TensorValue, output: Grid) -> TensorValue:
        """``QAdd`` or ``QMul``."""
        assert y.grid is not None
        attributes = {**self.act(x, output), "y_bits": y.grid.bits, "scale_y": y.grid.scale}
        return self.emit.integers(operator, [x.tensor, y.tensor], output, x, attributes=attributes, node=self.step.node)

    def function(self, operator: OnnxOperator, x: TensorValue, results: HostArray | None = None) -> TensorValue:
        """``QSigmoid``, or the ``QTable`` of some results."""
        inputs = [x.tensor]
        if results is not None:
            inputs.append(self.emit.graph.constant(f"{self.step.node.label}.results", results))
        return self.emit.integers(operator, inputs, _GATE, x, attributes=self.act(x, _GATE), node=self.step.node)

    def joined(self, parts: list[TensorValue]) -> TensorValue:
        """All states, joined a few at a time."""
        while len(parts) > 1:
            groups = [parts[i : i + _MOST_PARTS] for i in range(0, len(parts), _MOST_PARTS)]
            parts = [self._joined(group) if len(group) > 1 else group[0] for group in groups]
        return parts[0]

    def _joined(self, parts: Sequence[TensorValue]) -> TensorValue:
        shape = list(parts[0].shape)
        shape[_TIME] = sum(part.shape[_TIME] for part in parts)
        return joined(self.step, parts, _TIME, self.state, tuple(shape))

    def act(self, x: TensorValue, output: Grid) -> dict[str, Any]:
        """Attributes of a node; the cell rounds halves up whatever the layer's quantizers do."""
        return {**self.emit.act(self.step.node, x, output), "quant_mode": RoundMode.floor_add.value}

    def constant(self, parameter: str, part: str, values: HostArray, bits: int) -> str:
        """A stored matrix or bias; steps share it."""
        path = (*self.step.node.layer_info.path, f"{parameter}_l0{self.suffix}", part)
        return self.emit.graph.constant(".".join(path), stored(values, bits))


@functools.cache
def _tables(platform: Platform) -> tuple[HostArray, HostArray]:
    """1 - sigmoid of pre-activations of the gates, and tanh of those of the new state."""
    every = jnp.arange(FIRST_OPERAND, FIRST_OPERAND + TABLE_SIZE, dtype=jnp.int32)
    opposite = opposite_of_update(sigmoid(_kernel_input(every, _GATES), platform, _BITS - 1))
    return _results(opposite), _results(tanh(_kernel_input(every, _NEW), platform, _BITS - 1))


def _kernel_input(steps: Any, grid: Grid) -> Any:
    return steps * jnp.int32(2.0**_KERNEL_FRACTION_BITS / grid.scale)


def _results(values: Any) -> HostArray:
    return stored(np.asarray(values), _BITS)
