"""From a recorded evaluation to a graph: every step of the plan in order."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from linger_jax.compat import REMAT, leaf_count, parts_of_tuple
from linger_jax.errors import ExportError
from linger_jax.export.lower.emitter import Emitter
from linger_jax.export.lower.evaluation_record import Record
from linger_jax.export.lower.exported_values import (
    ExportedValue,
    Grid,
    HostValue,
    TensorValue,
    channels_first,
    flax_order,
)
from linger_jax.export.lower.lower_weighted import reads_channels_last
from linger_jax.export.lower.lowering_step import LoweringStep
from linger_jax.export.lower.rule_of_step import rule_of
from linger_jax.export.onnx import ElementType, GraphInput, OnnxGraph, index_constant
from linger_jax.interpret import place_of
from linger_jax.kinds import DENSE, ImageUse
from linger_jax.kinds import onnx_operators as ops
from linger_jax.plan import Constant, Graph, Node
from linger_jax.plan.graph import CARRY_BITS
from linger_jax.quantizers import QTensor

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
    return GraphWalk(record).run(input_names, output_names)


class GraphWalk:
    """The steps of a plan, one by one; ``draft_graph.py`` has one that goes on where this one raises."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.emit = Emitter(record)
        self.graph: Graph = record.plan.graph
        self.readers: dict[int, list[Node]] = defaultdict(list)
        self.env: dict[int, ExportedValue] = {}
        self.same: dict[int, list[int]] = defaultdict(list)
        self.infos = dict(self.graph.infos)
        for node in self.graph.walk():
            for i, atom in enumerate(node.inputs):
                if isinstance(atom, Constant):
                    continue
                if node.body is None:
                    self.readers[atom].append(node)
                else:
                    self.same[atom].append(node.body.inputs[i])
            if node.body is not None:
                self.infos.update(node.body.infos)
                for inner, outer in zip(node.body.outputs, node.outputs, strict=True):
                    if not isinstance(inner, Constant):
                        self.same[inner].append(outer)

    def run(self, input_names: Sequence[str], output_names: Sequence[str] | None) -> OnnxGraph:
        """Walks over all of them; arguments and errors as in ``export_graph``."""
        staged, graph = self.record.plan.staged, self.graph
        count = len(staged.variables)
        for path, variable in zip(staged.variables, graph.inputs[:count], strict=True):
            self.env[variable] = HostValue(self.record.variables[path])
        entering = model_arguments(staged.arguments)
        for name, argument in zip(input_names, graph.inputs[count:], strict=False):
            self.env[argument] = self._input(name, argument)
        for key in graph.inputs[count + len(entering) :]:
            shape = graph.infos[key].shape
            self.env[key] = TensorValue(_KEY, shape, flax_order(len(shape)), np.dtype(np.uint32))
        returns, _ = parts_of_tuple(staged.out_tree)
        returned = graph.outputs[: leaf_count(returns)]
        self._region(dataclasses.replace(graph, outputs=returned))
        outputs = [self._read(atom) for atom in returned]
        names = output_names or _output_names(returns, input_names)
        if len(names) != len(outputs):
            raise ExportError(f"the model has {len(outputs)} output(s), {len(names)} names were given: {list(names)}")
        if len({*names, *input_names}) != len(names) + len(input_names):
            raise ExportError(f"names of inputs and outputs must differ: {[*input_names, *names]}")
        # Named once all are there: values find their tensors by the names that these were made with.
        for name, tensor in self._returned(names, outputs):
            self.emit.graph.name_output(tensor, name)
        self.emit.graph.drop_dead()
        return self.emit.graph

    def _returned(self, names: Sequence[str], outputs: Sequence[ExportedValue]) -> list[tuple[str, str]]:
        """Name and tensor of every output."""
        taken = {entry.name for entry in self.emit.graph.inputs}
        return [(name, self._output(name, value, taken)) for name, value in zip(names, outputs, strict=True)]

    def _input(self, name: str, value: int) -> TensorValue:
        info = self.infos[value]
        rank = len(info.shape)
        image = rank >= 3 and self._wants_image(value, set())
        axes = channels_first(rank) if image else flax_order(rank)
        is_real = np.issubdtype(info.dtype, np.inexact) or self._is_number(value)
        kind: ElementType = "float32" if is_real else "int64"
        dtype = np.dtype(np.float32) if is_real else info.dtype
        exported = TensorValue(name, info.shape, axes, dtype, image=image)
        self.emit.graph.inputs.append(GraphInput(name, exported.tensor_shape, kind))
        return exported

    def _wants_image(self, value: int, seen: set[int]) -> bool:
        """Whether a convolution or pool reads the value, directly or behind steps that keep its axes."""
        if value in seen:
            return False
        seen.add(value)
        for node in self.readers[value]:
            if _reads_image(node, len(self.infos[value].shape)):
                return True
            if _lies_alike(node) and any(self._wants_image(v, seen) for v in node.outputs[:1]):
                return True
        return any(self._wants_image(inner, seen) for inner in self.same[value])

    def _is_number(self, value: int) -> bool:
        """Whether an integer or a boolean is only read as a real number, directly or behind steps that move it."""
        readers, inner = self.readers[value], self.same[value]
        if value in self.graph.outputs or not (readers or inner):
            return False
        return all(map(self._is_number, inner)) and all(map(self._takes_number, readers))

    def _takes_number(self, node: Node) -> bool:
        if node.primitive == "convert_element_type":
            return np.issubdtype(self.infos[node.outputs[0]].dtype, np.floating)
        moves = node.layer is None and node.move is not None and node.move.takes_floats
        return moves and all(map(self._is_number, node.outputs))

    def _keeps_flat_order(self, value: int) -> bool:
        """Whether every reader is a Dense over the last axis, perhaps behind steps on each element."""
        for node in self.readers[value]:
            if node.kind is not None and node.kind.file.keeps_flat_order:
                if not self._keeps_flat_order(node.outputs[0]):
                    return False
            elif not (node.kind == DENSE and node.quantized):
                return False
        return bool(self.readers[value]) and not self.same[value] and value not in self.graph.outputs

    def _read(self, atom: Any) -> ExportedValue:
        if isinstance(atom, Constant):
            return HostValue(np.asarray(atom.value, atom.dtype))
        return self.env[atom]

    def _region(self, graph: Graph, iterations: tuple[int, ...] = ()) -> None:
        for node in _needed(graph):
            self.emit.graph.label, self.emit.graph.step = node.label, node.outputs[0]
            self._node(graph, node, tuple(self._read(atom) for atom in node.inputs), iterations)
        self.emit.graph.label, self.emit.graph.step = "", None

    def _node(self, graph: Graph, node: Node, operands: tuple[ExportedValue, ...], iterations: tuple[int, ...]) -> None:
        if node.body is not None:
            self._body(node, node.body, operands, iterations)
            return
        place = place_of(iterations, node)
        results: Sequence[ExportedValue]
        if all(isinstance(value, HostValue) for value in operands) and node.quantized:
            results = _recorded(self.record.results[place])
        elif all(isinstance(value, HostValue) for value in operands) and node.run is not None:
            results = _evaluated(node, operands)
        else:
            self.emit.visit = self.record.at(place)
            keeps_flat_order = self._keeps_flat_order(node.outputs[0])
            results = self._rule(node)(LoweringStep(self.emit, graph, node, operands, keeps_flat_order))
        self.env.update(zip(node.outputs, results, strict=True))

    def _body(self, node: Node, body: Graph, operands: Sequence[ExportedValue], iterations: tuple[int, ...]) -> None:
        """``remat`` stands in the file as it is; a loop is written out, every iteration with its own parameters."""
        if node.op == REMAT:
            self.env.update(zip(body.inputs, operands, strict=True))
            self._region(body, iterations)
            self.env.update(zip(node.outputs, map(self._read, body.outputs), strict=True))
            return
        a, loops = node.attributes, self.emit.loops
        fixed, carried = int(a["consts"]), int(a["carry"])
        carry = [self._carried(v, bits) for v, bits in zip(operands[fixed:][:carried], a[CARRY_BITS], strict=True)]
        stacked: dict[int, list[ExportedValue]] = {}
        for i in range(a["length"])[:: -1 if a["reverse"] else 1]:
            entries = [self._entry(node, x, i) for x in operands[fixed + carried :]]
            self.emit.loops = (*loops, (node.owner.path, i))
            self.env.update(zip(body.inputs, (*operands[:fixed], *carry, *entries), strict=True))
            self._region(body, (*iterations, i))
            results = [self._read(atom) for atom in body.outputs]
            carry = [self._carried(v, bits) for v, bits in zip(results, a[CARRY_BITS], strict=False)]
            stacked[i] = [self._carried(v, None) for v in results[carried:]]
        self.emit.loops = loops
        self.env.update(zip(node.outputs, carry, strict=False))
        for position, value in enumerate(node.outputs[carried:]):
            if self.readers[value] or self.same[value] or value in self.graph.outputs:
                parts = [stacked[i][position] for i in sorted(stacked)]
                self.env[value] = _stacked_floats(self.emit, parts)

    def _carried(self, value: ExportedValue, bits: int | None) -> ExportedValue:
        """What leaves an iteration: integers only where every iteration has integers of that width."""
        if bits is not None:
            return value
        return HostValue(value.array) if isinstance(value, HostValue) else self.emit.real(value)

    def _entry(self, node: Node, x: ExportedValue, i: int) -> ExportedValue:
        """What an iteration gets of an array that the loop runs over."""
        if isinstance(x, HostValue):
            return HostValue(x.array[i])
        if x.order is not None:
            raise self.emit.error(node, "a loop runs over a flattened image")
        x = self.emit.real(x)
        index = index_constant(self.emit.graph, i)
        axes = tuple(axis - 1 for axis in x.axes if axis != 0)
        attributes = {"axis": x.position(0)}
        return self.emit.moved(ops.GATHER, x, attributes, [index], shape=x.shape[1:], axes=axes, image=False)

    def _rule(self, node: Node) -> Any:
        rule = rule_of(node)
        if rule is None:
            reason = f": {node.reason}" if node.reason else ""
            if any(isinstance(v, TensorValue) and v.tensor == _KEY for v in map(self._read, node.inputs)):
                raise self.emit.error(node, f"this call draws random numbers; {_EVALUATION}")
            if node.kind is not None and node.kind.file.refused_because:
                raise self.emit.error(node, node.kind.file.refused_because)
            what = "it is quantized but has" if node.quantized else "it runs as float and has"
            raise self.emit.error(node, f"{what} no form in a file{reason}; {_REMEDY}")
        return rule

    def _output(self, name: str, value: ExportedValue, taken: set[str]) -> str:
        """The tensor of an output, none of those that are taken; it is one of them then."""
        if isinstance(value, HostValue):
            raise ExportError(f"output {name} does not depend on the model's input; leave it out of the model's result")
        assert value.order is None  # a reshape whose result leaves the graph keeps Flax's order
        axes = channels_first(value.rank) if value.image else flax_order(value.rank)
        exported = self.emit.real(self.emit.arranged(value, axes))
        if exported.tensor in taken:
            exported = self.emit.moved(ops.IDENTITY, exported, {})
        taken.add(exported.tensor)
        return exported.tensor


def _reads_image(node: Node, rank: int) -> bool:
    """Whether a step reads a value of some rank channels-first."""
    match node.kind.file.image if node.kind is not None else ImageUse.none:
        case ImageUse.reads:
            return True
        case ImageUse.reads_planes:
            return rank >= _IMAGE_RANK
        case ImageUse.by_its_axes:
            return reads_channels_last(node)
    return False


def _lies_alike(node: Node) -> bool:
    """Whether the result of a step lies like its operand, so that what reads it decides for both."""
    if node.kind is not None and node.kind.file.image in (ImageUse.keeps, ImageUse.reads_planes):
        return True
    return node.move is not None and node.move.keeps_image


def _needed(graph: Graph) -> list[Node]:
    """Nodes that an output depends on: what a model computes for its own records is no part of the file."""
    wanted = {atom for atom in graph.outputs if not isinstance(atom, Constant)}
    nodes = []
    for node in reversed(graph.nodes):
        if wanted.intersection(node.outputs):
            nodes.append(node)
            wanted.update(atom for atom in node.inputs if not isinstance(atom, Constant))
    return nodes[::-1]


def model_arguments(arguments: Sequence[str]) -> list[str]:
    """The arguments that enter a file: all but the keys of random numbers, which stand last."""
    return [name for name in arguments if not name.startswith("rngs")]


def _output_names(tree: Any, taken: Sequence[str]) -> list[str]:
    """Keys, where the model returns a dict; else ``y``, or ``y0``, ``y1``, ..."""
    count = leaf_count(tree)
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(tree.unflatten(range(count)))[0]]
    keys = [[entry.key for entry in path if isinstance(entry, jax.tree_util.DictKey)] for path in paths]
    names = ["_".join(map(str, own)) for own in keys]
    are_keys = all(own and len(own) == len(path) for own, path in zip(keys, paths, strict=True))
    if are_keys and len({*names, *taken}) == count + len(taken):
        return names
    return ["y"] if count == 1 else [f"y{i}" for i in range(count)]


def _evaluated(node: Node, operands: Sequence[ExportedValue]) -> list[ExportedValue]:
    """A step on constants, computed now."""
    assert node.run is not None
    arrays = [jax.numpy.asarray(value.array) for value in operands if isinstance(value, HostValue)]
    return [HostValue(np.asarray(result)) for result in node.run(*arrays)]


def _recorded(values: Sequence[Any]) -> list[HostValue]:
    """A quantized step on constants, as evaluation computed it."""
    grids = [Grid(float(v.scale), v.bits) if isinstance(v, QTensor) else None for v in values]
    arrays = [np.asarray(v.value if isinstance(v, QTensor) else v) for v in values]
    return [HostValue(array, grid) for array, grid in zip(arrays, grids, strict=True)]


def _stacked_floats(emit: Emitter, parts: Sequence[ExportedValue]) -> ExportedValue:
    """Results of all iterations on a new leading axis: floats, since no single scale describes them."""
    if all(isinstance(part, HostValue) for part in parts):
        return HostValue(np.stack([part.array for part in parts if isinstance(part, HostValue)]))
    tensors = []
    for part in parts:
        value = _float_tensor(emit, part)
        shape = (1, *value.shape)
        axes = flax_order(len(shape))
        tensors.append(emit.moved(ops.UNSQUEEZE, value, {"axes": [0]}, shape=shape, axes=axes, image=False))
    first = tensors[0]
    others = [t.tensor for t in tensors[1:]]
    return emit.moved(ops.CONCAT, first, {"axis": 0}, others, shape=(len(parts), *first.shape[1:]))


def _float_tensor(emit: Emitter, part: ExportedValue) -> TensorValue:
    if isinstance(part, TensorValue):
        return emit.in_flax_order(part)
    tensor = emit.graph.constant("constant", part.array.astype(np.float32))
    return TensorValue(tensor, part.shape, flax_order(len(part.shape)), np.dtype(np.float32))


_KEY = "a key of random numbers"
_EVALUATION = "export the evaluation (deterministic=True, train=False or the like)"
_REMEDY = (
    "compute it in front of or behind the exported model, or write it with steps that are quantized (qmodel.plan lists "
    "them)"
)
