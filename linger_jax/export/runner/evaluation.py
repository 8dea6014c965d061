"""Walking a file's graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from linger_jax.errors import ExportError
from linger_jax.export.onnx import FileGraph
from linger_jax.export.runner.integer_tensor import Array, IntegerTensor, Value
from linger_jax.export.runner.operators import RUN_NAMES, Call, run_node
from linger_jax.kinds import OPERATOR_OF_NAME
from linger_jax.plan import semantics


def check_operators(graph: FileGraph) -> None:
    """Refuses a file with operators that have no rule.

    Raises:
      ExportError: it names every such node and the operators there are.
    """
    unknown = [f"{node.name} ({node.op})" for node in graph.computing if node.op not in RUN_NAMES]
    if unknown:
        raise ExportError(
            f"no integer rule for {', '.join(unknown)}; operators that can be run: {', '.join(sorted(RUN_NAMES))}"
        )


def evaluate(graph: FileGraph, inputs: Sequence[Array], wanted: Sequence[str]) -> Mapping[str, Value]:
    """Runs a graph on arrays of its declared shapes.

    Args:
      graph: the file.
      inputs: one array a graph input.
      wanted: tensors to return.
    """
    env: dict[str, Value] = dict(graph.constants)
    env.update(zip((entry.name for entry in graph.inputs), inputs, strict=True))
    meaning = semantics(graph.compat)
    for node in graph.computing:
        operands = tuple(env[name] if name else None for name in node.inputs)
        call = Call(node, operands, meaning, graph.dialect)
        results = run_node(OPERATOR_OF_NAME[node.op], call)
        for result in results:
            call.require_size(result.value.size if isinstance(result, IntegerTensor) else result.size)
        env.update(zip(node.outputs, results, strict=False))  # optional outputs may be left out
    return {name: env[name] for name in wanted}


def evaluate_batch(
    graph: FileGraph, inputs: Sequence[Array], wanted: Sequence[str], axes: Sequence[int]
) -> Mapping[str, Value]:
    """``evaluate`` of every sample of a batch.

    Files are written for one sample and hold its shape in reshapes; so a batch is many samples, not a larger shape.

    Args:
      graph: the file.
      inputs: arrays with the batch at ``axes``, where the file declares one sample.
      wanted: tensors to return.
      axes: batch axis of each input.

    Returns:
      Tensors with the samples on a new leading axis.
    """

    def sample(*arrays: Array) -> Mapping[str, Value]:
        whole = [jnp.expand_dims(a, axis) for a, axis in zip(arrays, axes, strict=True)]
        return evaluate(graph, whole, wanted)

    return jax.vmap(sample, in_axes=tuple(axes))(*inputs)
