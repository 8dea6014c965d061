"""``export_onnx``: a trained model as a file."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import flax.linen as nn

from linger_jax.errors import ExportError
from linger_jax.export.cleanup import axes_as_inputs
from linger_jax.export.onnx_writer import to_model, write_model
from linger_jax.export.record import Record
from linger_jax.export.walk import export_graph

AXES_ARE_INPUTS = 13
"""The first opset in which Squeeze, Unsqueeze and Split take their axes as inputs; the packer wants attributes."""


class Exportable(Protocol):
    """What export needs of a quantized model."""

    model: nn.Module

    def record(self, variables: Mapping[str, Any], *args: Any, **kwargs: Any) -> Record:
        """One evaluation, recorded."""


def export_onnx(
    qmodel: Exportable,
    variables: Mapping[str, Any],
    x: Any,
    path: str | Path,
    dialect: Literal["linger"] = "linger",
    opset: int = 12,
    *,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    rngs: Any = None,
    method: Any = None,
    **kwargs: Any,
) -> Path:
    """Writes the evaluation of a quantized model as an ONNX file with integer weights.

    Images leave Flax's channels-last order: a file's inputs, outputs and weights are channels-first (N, C, H, W), and
    the rows of a Dense behind a flattened image are permuted. Other values keep Flax's order.

    Args:
      qmodel: the model, from :func:`linger_jax.init`.
      variables: all its collections.
      x: an example input, or a tuple of the positional arguments; its shape becomes the file's. The vendor's packer
        wants a batch of one.
      path: the file to write; its folder is created. It is whole or not there at all.
      dialect: ``linger``: names and operators of linger 3.0.9.
      opset: ONNX operator set, 11 to 18; 12 is what the packer reads.
      input_names, output_names: of the graph; defaults are the names of the model's arguments, and ``y``.
      rngs, method, **kwargs: as in ``nn.Module.apply``.

    Returns:
      ``path``.

    Raises:
      ExportError: something runs as float or has no form in a file (the message names the layer and the line), the
        names do not fit, the opset is unknown, or the onnx package is missing.

    Source: spec/onnx_export.md.
    """
    if dialect != "linger":
        raise ExportError(f"dialect {dialect!r} is not known; allowed: 'linger'")
    args = x if isinstance(x, tuple) else (x,)
    record = qmodel.record(variables, *args, rngs=rngs, method=method, **kwargs)
    arguments = record.plan.staged.arguments
    names = list(input_names) if input_names is not None else _argument_names(qmodel.model, method, arguments)
    if len(names) != len(arguments) or len(set(names)) != len(names):
        raise ExportError(f"the model takes {list(arguments)}; input_names must be as many different names: {names}")
    graph = export_graph(record, names, output_names)
    if opset >= AXES_ARE_INPUTS:
        axes_as_inputs(graph)
    model = to_model(graph, opset, record.plan.settings.config.compat)
    write_model(model, Path(path))
    return Path(path)


def _argument_names(model: nn.Module, method: Any, arguments: Sequence[str]) -> list[str]:
    """Names of the model's own parameters for ``args[0]``, ``kwargs['mask']``; numbered where one is a container."""
    function = getattr(type(model), method or "__call__") if method is None or isinstance(method, str) else method
    parameters = list(inspect.signature(function).parameters)[1:]
    names = []
    for argument in arguments:
        head, _, rest = argument.partition("[")
        key, _, inner = rest.partition("]")
        name = parameters[int(key)] if head == "args" and int(key) < len(parameters) else key.strip("'\"")
        names.append(name + "".join(c if c.isalnum() else "_" for c in inner).rstrip("_"))
    return names
