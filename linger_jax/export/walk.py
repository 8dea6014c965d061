"""From a recorded evaluation to a graph: every step of the plan in order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from linger_jax.errors import ExportError
from linger_jax.export.cleanup import clean
from linger_jax.export.emitter import Emitter
from linger_jax.export.laid import Exported, Known, Laid, channels_first, natural
from linger_jax.export.lowering import RULES
from linger_jax.export.lowering.call import Step
from linger_jax.export.onnx_graph import ElementType, GraphInput, OnnxGraph
from linger_jax.export.record import Record
from linger_jax.plan import Constant, Graph, Node

# Steps through which an image keeps its kind, and steps that want one.
_IMAGE_LAYERS = frozenset({"conv", "conv_transpose", "max_pool", "avg_pool"})
_ALIKE = frozenset({"relu", "relu6", "dropout", "add", "mul", "logistic", "tanh", "gelu", "silu", "batch_norm"})
# An axis flattened channels-first may pass these on its way to a Dense.
_KEEPS_ORDER = frozenset({"relu", "relu6", "dropout", "logistic", "tanh", "gelu", "silu"})
_IMAGE_RANK = 4


def export_graph(record: Record, input_names: Sequence[str], output_names: Sequence[str] | None) -> OnnxGraph:
    """Writes the nodes of a plan.

    Args:
      record: the evaluation.
      input_names: of the model's arrays, in order.
      output_names: of the model's outputs, or None for ``y`` or ``y0``, ``y1``, ...

    Raises:
      ExportError: a step has no form in a file; it names the step and its line.
    """
    return _Walk(record).run(input_names, output_names)


class _Walk:
    def __init__(self, record: Record) -> None:
        self.record = record
        self.emit = Emitter(record)
        self.graph: Graph = record.plan.graph
        self.readers: dict[int, list[Node]] = defaultdict(list)
        self.env: dict[int, Exported] = {}
        for node in self.graph.nodes:
            for atom in node.inputs:
                if not isinstance(atom, Constant):
                    self.readers[atom].append(node)

    def run(self, input_names: Sequence[str], output_names: Sequence[str] | None) -> OnnxGraph:
        staged, graph = self.record.plan.staged, self.graph
        count = len(staged.variables)
        for path, variable in zip(staged.variables, graph.inputs[:count], strict=True):
            self.env[variable] = Known(self.record.variables[path])
        for name, argument in zip(input_names, graph.inputs[count:], strict=True):
            self.env[argument] = self._input(name, argument)
        self._region(graph)
        outputs = [self._read(atom) for atom in graph.outputs[: staged.out_tree.children()[0].num_leaves]]
        names = output_names or (["y"] if len(outputs) == 1 else [f"y{i}" for i in range(len(outputs))])
        if len(names) != len(outputs):
            raise ExportError(f"the model has {len(outputs)} output(s), {len(names)} names were given: {list(names)}")
        for name, value in zip(names, outputs, strict=True):
            self._output(name, value)
        clean(self.emit.graph)
        self.emit.graph.rename_intermediates()
        return self.emit.graph

    def _input(self, name: str, value: int) -> Laid:
        info = self.graph.infos[value]
        rank = len(info.shape)
        image = rank >= 3 and self._wants_image(value, set())
        axes = channels_first(rank) if image else natural(rank)
        kind: ElementType = "float32" if np.issubdtype(info.dtype, np.inexact) else "int64"
        laid = Laid(name, info.shape, axes, info.dtype, image=image)
        self.emit.graph.inputs.append(GraphInput(name, laid.tensor_shape, kind))
        return laid

    def _wants_image(self, value: int, seen: set[int]) -> bool:
        """Whether a convolution or pool reads the value, directly or behind steps that keep its axes."""
        if value in seen:
            return False
        seen.add(value)
        for node in self.readers[value]:
            rank = len(self.graph.infos[value].shape)
            if node.op in _IMAGE_LAYERS or (node.op == "batch_norm" and rank >= _IMAGE_RANK):
                return True
            keeps = node.op in _ALIKE or node.attributes.get("primitive") in ("pad", "slice", "rev")
            if keeps and any(self._wants_image(v, seen) for v in node.outputs[:1]):
                return True
        return False

    def _keeps_flat_order(self, value: int) -> bool:
        """Whether every reader is a Dense over the last axis, perhaps behind steps on each element."""
        for node in self.readers[value]:
            if node.op in _KEEPS_ORDER:
                if not self._keeps_flat_order(node.outputs[0]):
                    return False
            elif not (node.op == "dense" and node.quantized):
                return False
        return bool(self.readers[value]) and value not in self.graph.outputs

    def _read(self, atom: Any) -> Exported:
        if isinstance(atom, Constant):
            return Known(np.asarray(atom.value, atom.dtype))
        return self.env[atom]

    def _region(self, graph: Graph) -> None:
        for node in graph.nodes:
            if node.op == "lost":
                continue
            self.emit.graph.label = node.label
            operands = tuple(self._read(atom) for atom in node.inputs)
            if all(isinstance(value, Known) for value in operands) and node.run is not None and not node.quantized:
                results: Sequence[Exported] = _evaluated(node, operands)
            else:
                keeps_flat_order = bool(node.outputs) and self._keeps_flat_order(node.outputs[0])
                results = self._rule(node)(Step(self.emit, graph, node, operands, keeps_flat_order))
            self.env.update(zip(node.outputs, results, strict=True))
        self.emit.graph.label = ""

    def _rule(self, node: Node) -> Any:
        moves = node.layer is None and node.op not in RULES and node.attributes.get("primitive") in _MOVES
        rule = RULES["structural"] if moves else RULES.get(node.op)
        if rule is None or not (node.quantized or moves or node.op in _IN_BOTH):
            reason = f": {node.reason}" if node.reason else ""
            what = "it is quantized but has" if node.quantized else "it runs as float and has"
            raise self.emit.error(node, f"{what} no form in a file{reason}")
        return rule

    def _output(self, name: str, value: Exported) -> None:
        if isinstance(value, Known):
            raise ExportError(f"output {name} does not depend on the model's input")
        if value.order is not None:
            raise ExportError(f"output {name} is a flattened image; reshape it after the model")
        axes = channels_first(value.rank) if value.image else natural(value.rank)
        laid = self.emit.real(self.emit.arranged(value, axes))
        if laid.tensor in self.emit.graph.outputs or laid.tensor in {e.name for e in self.emit.graph.inputs}:
            laid = self.emit.moved("Identity", laid, {})
        self.emit.graph.name_output(laid.tensor, name)


def _evaluated(node: Node, operands: Sequence[Exported]) -> list[Exported]:
    """A step on constants, computed now."""
    assert node.run is not None
    arrays = [jax.numpy.asarray(value.array) for value in operands if isinstance(value, Known)]
    return [Known(np.asarray(result)) for result in node.run(*arrays)]


# Steps whose nodes take floats as well as integers.
_MOVES = frozenset(
    ("reshape", "transpose", "squeeze", "expand_dims", "slice", "rev", "split", "pad", "broadcast_in_dim", "copy")
)
_IN_BOTH = frozenset({"structural", "dropout", "relu", "relu6"})
