"""A graph as an ONNX file: checked, then written in one step."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np

from linger_jax.atomic_file import write_file
from linger_jax.config import Compat
from linger_jax.errors import ExportError
from linger_jax.export.onnx.file_dialect import FileDialect
from linger_jax.export.onnx.onnx_file import COMPAT_KEY, DIALECT_KEY, RESERVING_KEY
from linger_jax.export.onnx.onnx_graph import ElementType, OnnxGraph
from linger_jax.kinds import LINGER

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

# docs/specification/onnx_export.md section 1: what the packer's ONNX release reads.
LINGER_OPSET = 1
_IR_VERSIONS = {11: 6, 12: 7, 13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8}


def to_model(graph: OnnxGraph, opset: int, compat: Compat, dialect: FileDialect) -> ModelProto:
    """An ONNX model of a graph, checked.

    Args:
      graph: the graph.
      opset: ONNX operator set.
      compat, dialect: written into the file's metadata, for ``OnnxRunner``.

    Raises:
      ExportError: the onnx package is missing, the opset is not supported, or the checker complains.
    """
    try:
        import onnx
        from onnx import helper, numpy_helper
    except ImportError as error:
        raise ExportError("writing ONNX files needs the onnx package: pip install linger-jax[onnx]") from error
    if opset not in _IR_VERSIONS:
        raise ExportError(
            f"opset {opset} is not supported; allowed: {min(_IR_VERSIONS)} to {max(_IR_VERSIONS)} (12 is the packer's)"
        )
    kinds = {kind: helper.np_dtype_to_tensor_dtype(np.dtype(kind)) for kind in get_args(ElementType)}
    nodes = [
        helper.make_node(
            n.op, n.inputs, n.outputs, name=n.name, doc_string=n.label or None, domain=n.operator.domain, **n.attributes
        )
        for n in graph.nodes
    ]
    inputs = [helper.make_tensor_value_info(e.name, kinds[e.element_type], list(e.shape)) for e in graph.inputs]

    def info(tensor: str) -> ValueInfoProto:
        return helper.make_tensor_value_info(tensor, kinds[graph.element_types[tensor]], graph.shapes[tensor])

    outputs = [info(name) for name in (*graph.outputs, *graph.reserving)]
    between = [info(tensor) for node in graph.nodes for tensor in node.outputs]
    constants = [numpy_helper.from_array(value, name) for name, value in graph.constants.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "main_graph", inputs, outputs, constants, value_info=between),
        opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid(LINGER, LINGER_OPSET)],
        ir_version=_IR_VERSIONS[opset],
        producer_name="linger_jax",
    )
    stated = {COMPAT_KEY: compat.value, DIALECT_KEY: dialect.name}
    if graph.reserving:
        stated[RESERVING_KEY] = str(len(graph.reserving))
    helper.set_model_props(model, stated)
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ExportError(f"the ONNX checker refuses the exported graph: {error}") from error
    return model


def write_model(model: ModelProto, path: Path) -> None:
    """Writes a model; a failure leaves no partial file.

    Raises:
      FileError: the file cannot be written.
    """
    write_file(path, model.SerializeToString())
