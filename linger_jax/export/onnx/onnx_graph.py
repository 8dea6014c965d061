"""An ONNX graph under construction: nodes in order, constants, element types."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from linger_jax.kinds import OnnxOperator
from linger_jax.typing import HostArray

ElementType = Literal["float32", "int8", "int16", "int32", "int64"]


@dataclasses.dataclass(eq=False)
class GraphNode:
    """A node; tensors by name.

    Attributes:
      operator: what it computes.
      label: module path of the layer or operator that it computes, for messages; "" where there is none.
      written_as: name under which the file has the operator; "" for its own.
      step: value id of the first result of the plan's step that it was written for; None of what a rewrite has added.
    """

    operator: OnnxOperator
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]
    label: str = ""
    written_as: str = ""
    step: int | None = None

    @property
    def op(self) -> str:
        """The operator's name in the file, without its domain."""
        return self.written_as or self.operator.name

    @property
    def name(self) -> str:
        """``<op>_<first output>``, as the reference names nodes."""
        return f"{self.op}_{self.outputs[0]}"


@dataclasses.dataclass(frozen=True)
class GraphInput:
    """A graph input."""

    name: str
    shape: tuple[int, ...]
    element_type: ElementType


class OnnxGraph:
    """Nodes, constants and boundaries; tensors have provisional names until ``rename_intermediates``.

    Attributes:
      inputs: graph inputs in order.
      outputs: names of the graph outputs.
      reserving: names of graph outputs behind those that are not the model's: the packer plans memory for them.
      nodes: in execution order.
      constants: initializers by name.
      element_types, shapes: of every tensor a node makes.
      label: module path of the nodes that are added from now on.
      step: the step of the plan that they are written for.
    """

    def __init__(self) -> None:
        self.inputs: list[GraphInput] = []
        self.outputs: list[str] = []
        self.reserving: list[str] = []
        self.nodes: list[GraphNode] = []
        self.constants: dict[str, HostArray] = {}
        self.element_types: dict[str, ElementType] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.label = ""
        self.step: int | None = None
        self._count = 0

    def add(
        self,
        operator: OnnxOperator,
        inputs: Sequence[str],
        *,
        element_types: Sequence[ElementType],
        attributes: Mapping[str, Any] | None = None,
        label: str | None = None,
    ) -> list[str]:
        """Appends a node and returns the names of its outputs; ``label`` None: the graph's."""
        outputs = [self._fresh() for _ in element_types]
        self.element_types.update(zip(outputs, element_types, strict=True))
        label = self.label if label is None else label
        self.nodes.append(GraphNode(operator, list(inputs), outputs, dict(attributes or {}), label, step=self.step))
        return outputs

    def constant(self, name: str, value: HostArray) -> str:
        """Adds an initializer; a name that is taken by other values gets a number."""
        stem, number = name, 0
        while name in self.constants and not _same(self.constants[name], value):
            number += 1
            name = f"{stem}_{number}"
        self.constants[name] = value
        return name

    def rename_intermediates(self) -> None:
        """Names tensors ``0``, ``1``, ... in node order; inputs, outputs and constants keep theirs.

        What is noted of tensors that no node makes any more is forgotten: another gets their name.
        """
        kept = {*self.outputs, *self.reserving, *self.constants, *(entry.name for entry in self.inputs)}
        made = dict.fromkeys(t for node in self.nodes for t in node.outputs if t not in kept)
        free = (str(i) for i in itertools.count() if str(i) not in kept)
        names = {tensor: next(free) for tensor in made}
        for node in self.nodes:
            node.inputs = [names.get(t, t) for t in node.inputs]
            node.outputs = [names.get(t, t) for t in node.outputs]
        living = {t: names.get(t, t) for t in (*made, *self.outputs, *self.reserving)}
        self.element_types = {new: self.element_types[old] for old, new in living.items()}
        self.shapes = {new: self.shapes[old] for old, new in living.items()}

    def name_output(self, tensor: str, name: str) -> None:
        """Gives a tensor the name of a graph output."""
        for node in self.nodes:
            node.inputs = [name if t == tensor else t for t in node.inputs]
            node.outputs = [name if t == tensor else t for t in node.outputs]
        self.element_types[name] = self.element_types.pop(tensor)
        self.shapes[name] = self.shapes.pop(tensor)
        self.outputs.append(name)

    def drop_dead(self) -> None:
        """Removes nodes that no output needs, and constants that no node reads."""
        needed = {*self.outputs, *self.reserving}
        kept = []
        for node in reversed(self.nodes):
            if needed & set(node.outputs):
                kept.append(node)
                needed.update(node.inputs)
        self.nodes = kept[::-1]
        self.constants = {name: value for name, value in self.constants.items() if name in needed}

    def _fresh(self) -> str:
        self._count += 1
        return f"#{self._count}"


def _same(one: HostArray, other: HostArray) -> bool:
    return one.dtype == other.dtype and np.array_equal(one, other)


def integer_type(bits: int) -> ElementType:
    """The integer type that stores a width (docs/specification/onnx_export.md section 3)."""
    return "int8" if bits <= 8 else "int16" if bits <= 16 else "int32"
