"""A file beside its integers: what each sample feeds to it, what each of its tensors is, and its first nodes alone."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

import linger_jax
from linger_jax.export.onnx import FileNode
from linger_jax.export.onnx.onnx_file import RESERVING_KEY
from linger_jax.export.runner.integer_tensor import IntegerTensor
from linger_jax.typing import HostArray

_TYPES = {8: np.int8, 16: np.int16, 32: np.int32}


class Integers:
    """The runner's integers of a file, for some samples.

    Args:
      path: the file.
      inputs: of the model, the samples on their first axis, images channels-last.
    """

    def __init__(self, path: Path, inputs: Sequence[HostArray]) -> None:
        self.path = path
        self._runner = linger_jax.OnnxRunner(path)
        laid = [
            x if x.shape[1:] == tuple(entry.shape)[1:] else np.moveaxis(x, -1, 1)
            for x, entry in zip(inputs, self._runner.inputs, strict=True)
        ]
        self._samples = [[x[i : i + 1] for x in laid] for i in range(len(laid[0]))]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the graph inputs."""
        return tuple(entry.name for entry in self._runner.inputs)

    @property
    def nodes(self) -> tuple[FileNode, ...]:
        """Of the file, but for those that only reserve memory."""
        return self._runner.graph.computing

    @property
    def outputs(self) -> tuple[str, ...]:
        """The tensors that a package gives: those that ``Dequant`` reads at the end."""
        before = {node.outputs[0]: node.inputs[0] for node in self.nodes if node.written == "Dequant"}
        return tuple(before.get(name, name) for name in self._runner.outputs)

    def fed(self) -> list[list[HostArray]]:
        """The integers of each graph input of each sample."""
        quants = {node.inputs[0]: node for node in self.nodes if node.written == "Quant"}
        names = [node.outputs[0] for node in quants.values()]
        found = []
        for sample in self._samples:
            values = self._runner.run_quantized(sample, names) if names else {}
            arrays = []
            for entry, given in zip(self._runner.inputs, sample, strict=True):
                quant = quants.get(entry.name)
                if quant is None:
                    arrays.append(np.asarray(given, entry.dtype))
                else:
                    dtype = _TYPES[int(quant.attributes["data_bits"])]
                    arrays.append(np.asarray(values[quant.outputs[0]].value).astype(dtype))
            found.append(arrays)
        return found

    def of(self, names: Sequence[str]) -> list[Mapping[str, HostArray]]:
        """Tensors of each sample."""
        ran = [self._runner.run_quantized(sample, names) for sample in self._samples]
        return [{name: _integers(value) for name, value in values.items()} for values in ran]

    def scale(self, name: str) -> float | None:
        """Of a tensor; None for floats and indices."""
        value = self._runner.run_quantized(self._samples[0], [name])[name]
        return value.scale if isinstance(value, IntegerTensor) else None


def _integers(value: object) -> HostArray:
    return np.asarray(value.value if isinstance(value, IntegerTensor) else value)


def first_nodes(path: Path, tensor: str, scale: float | None, shape: Sequence[int], out: Path) -> list[str]:
    """Writes the nodes of a file that a tensor needs, the tensor being all that the file gives.

    Outputs that reserve memory stay.

    Args:
      path: the whole file.
      tensor: what the new file gives.
      scale: of it; None where it holds no quantized numbers.
      shape: of it.
      out: the new file.

    Returns:
      The graph inputs that it still reads.
    """
    model = onnx.load(path)
    graph, kept = model.graph, []
    stated = {entry.key: entry.value for entry in model.metadata_props}
    reserving = copy.deepcopy(list(graph.output)[len(graph.output) - int(stated.get(RESERVING_KEY, 0)) :])
    wanted = {tensor, *(entry.name for entry in reserving)}
    for node in reversed(graph.node):
        if wanted & {*node.output}:
            kept.append(node)
            wanted |= {*node.input}
    nodes = list(reversed(kept))
    if scale is not None:
        behind = [node for node in nodes if {*node.output} & {entry.name for entry in reserving}]
        nodes = [node for node in nodes if node not in behind]
        nodes.append(helper.make_node("Dequant", [tensor], ["probed"], "probed", domain="linger", scale_o=scale))
        nodes += behind
    dtype, name = (TensorProto.INT64, tensor) if scale is None else (TensorProto.FLOAT, "probed")
    del graph.node[:], graph.output[:]
    graph.node.extend(nodes)
    graph.output.extend([helper.make_tensor_value_info(name, dtype, shape), *reserving])
    for constants in [entry for entry in graph.initializer if entry.name not in wanted]:
        graph.initializer.remove(constants)
    for unread in [entry for entry in graph.input if entry.name not in wanted]:
        graph.input.remove(unread)
    onnx.save(model, out)
    return [entry.name for entry in graph.input]
