"""What an exporter wants to know of one evaluation, noted while it is traced.

A quantizer may be reached more than once in a call: a module that is called twice, a step of a loop. So everything is
noted by *place*: the iterations of the loops around a node, then the node's first result.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax

from linger_jax.plan import Constant, Graph, Node, Quantizer
from linger_jax.quantizers import QTensor, QuantizerKind
from linger_jax.typing import Path

Place = tuple[int, ...]
"""Iterations of the loops around a node, outermost first, and the value id of its first result."""
Key = tuple[Place, Path]
"""A quantizer at a place."""


@dataclasses.dataclass(eq=False)
class Recording:
    """Mutable while one evaluation is traced; loops are unrolled, nothing is traced twice.

    Attributes:
      quantizers: the plan's.
      fixed: values that may depend on variables and constants alone.
      iterations: of the loops around the node at hand.
      place: of the node at hand.
      parameters: what each weight and bias quantizer got and returned.
      bias_steps: the integers of each bias that was added, on the grid of its sum.
      scales: of each quantizer of a node, and of others whose state it wrote.
      results: results of quantized nodes whose operands are all ``fixed``.
    """

    quantizers: Mapping[Path, Quantizer]
    fixed: frozenset[int]
    iterations: tuple[int, ...] = ()
    place: Place = ()
    parameters: dict[Key, tuple[jax.Array, QTensor]] = dataclasses.field(default_factory=dict)
    bias_steps: dict[Key, jax.Array] = dataclasses.field(default_factory=dict)
    scales: dict[Key, jax.Array] = dataclasses.field(default_factory=dict)
    results: dict[Place, list[Any]] = dataclasses.field(default_factory=dict)

    def begin(self, node: Node) -> None:
        """A node is about to be evaluated."""
        self.place = place_of(self.iterations, node)

    def end(
        self,
        node: Node,
        before: Mapping[Path, Mapping[str, Any]],
        after: Mapping[Path, Mapping[str, Any]],
        results: Any,
    ) -> None:
        """A node was evaluated: ``before`` and ``after`` are the states around it."""
        if node.body is not None:
            return
        place, state_path = place_of(self.iterations, node), node.state_path
        for path, entries in after.items():
            if entries is not before.get(path) or (state_path and path[: len(state_path)] == state_path):
                self.scales[place, path] = entries["scale"]
        if node.quantized and all(isinstance(a, Constant) or a in self.fixed for a in node.inputs):
            self.results[place] = list(results)

    def note(self, path: Path, given: jax.Array, result: QTensor) -> None:
        """A quantizer returned."""
        if self.quantizers[path].spec.kind is not QuantizerKind.activation:
            self.parameters[self.place, path] = given, result

    def note_bias(self, path: Path, steps: jax.Array) -> None:
        """A bias was added: int32, on the grid of the sum, of any shape with its elements in order."""
        self.bias_steps[self.place, path] = steps


def place_of(iterations: Sequence[int], node: Node) -> Place:
    """The place of a node."""
    return (*iterations, node.outputs[0])


def fixed_values(graph: Graph, inputs: Iterable[int]) -> frozenset[int]:
    """Values that depend on some inputs and on constants alone, in bodies too.

    What a loop carries counts where it starts out so, for the sake of its first iteration.

    Args:
      graph: a planned graph.
      inputs: those of its inputs that are fixed.
    """
    fixed = set(inputs)
    for node in graph.nodes:
        known = [isinstance(a, Constant) or a in fixed for a in node.inputs]
        if node.body is not None:
            entries = [v for v, is_known in zip(node.body.inputs, known, strict=True) if is_known]
            fixed |= fixed_values(node.body, entries)
        if all(known):
            fixed.update(node.outputs)
    return frozenset(fixed)
