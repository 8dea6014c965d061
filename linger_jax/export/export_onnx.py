"""``export_onnx``: a trained model as a file."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import flax.linen as nn

from linger_jax.config import Platform
from linger_jax.errors import ExportError
from linger_jax.export.dialects import DIALECTS, Destination, one_sample, state_platform
from linger_jax.export.lint import check_onnx, enforce
from linger_jax.export.lower import Record, export_graph, model_arguments
from linger_jax.export.onnx import AXES_ARE_INPUTS, axes_as_inputs, to_model, write_model
from linger_jax.plan import Plan


class Exportable(Protocol):
    """What export needs of a quantized model."""

    model: nn.Module

    def record(self, variables: Mapping[str, Any], *args: Any, **kwargs: Any) -> Record:
        """One evaluation, recorded."""

    def apply(self, variables: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """One evaluation."""

    def plan_of_call(
        self, variables: Any, args: Any, kwargs: Mapping[str, Any], rngs: Any, method: Any, mutable: Any
    ) -> Plan:
        """The plan by which such a call of ``apply`` runs."""


def export_onnx(
    qmodel: Exportable,
    variables: Mapping[str, Any],
    x: Any,
    path: str | Path,
    dialect: str = "thinker",
    platform: str | Platform | None = None,
    opset: int = 12,
    strict: bool = True,
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
      qmodel: the model, from ``linger_jax.init``.
      variables: all its collections.
      x: an example input, or a tuple of the positional arguments; its shape becomes the file's. For ``thinker`` a batch
        is cut to its first sample: the device takes one.
      path: the file to write; its folder is created. A failure leaves no partial file.
      dialect: ``thinker``: what the vendor's packer accepts and the device computes to the bit. ``linger``: names and
        operators of linger 3.0.9.
      platform: the chip, if it is another than the configuration's; only where both compute the same integers.
      opset: ONNX operator set, 11 to 18; 12 is what the packer reads.
      strict: refuse a ``thinker`` file that the device would not run to the bit; else warn.
      input_names, output_names: of the graph; defaults are the names of the model's arguments, and ``y`` or the keys of
        the dict that the model returns.
      rngs, method, **kwargs: as in ``nn.Module.apply``.

    Returns:
      ``path``.

    Raises:
      DeviceLintError: the device would refuse a ``thinker`` file or compute other integers, and ``strict`` is set.
      ExportError: something runs as float or has no form in a file (the message names the layer and the line), the
        names do not fit, the opset is unknown, or the onnx package is missing.
      FileError: the file cannot be written.

    Source: docs/specification/onnx_export.md sections 1 to 3.
    """
    if dialect not in DIALECTS:
        raise ExportError(f"dialect {dialect!r} is not known; allowed: {', '.join(DIALECTS)}")
    written = DIALECTS[dialect]
    args = x if isinstance(x, tuple) else (x,)
    if written.one_sample:
        plan = qmodel.plan_of_call(variables, args, kwargs, rngs, method, mutable=False)
        evaluate = functools.partial(qmodel.apply, variables, rngs=rngs, method=method)
        args, kwargs = one_sample(plan, args, kwargs, evaluate)
    record = qmodel.record(variables, *args, rngs=rngs, method=method, **kwargs)
    as_evaluated = written.biases_as_evaluated or record.plan.settings.semantics.files_hold_evaluated_biases
    record = dataclasses.replace(record, bias_as_evaluated=as_evaluated)
    arguments = model_arguments(record.plan.staged.arguments)
    names = list(input_names) if input_names is not None else _argument_names(qmodel.model, method, arguments)
    if len(names) != len(arguments) or len(set(names)) != len(names):
        raise ExportError(f"the model takes {list(arguments)}; input_names must be as many different names: {names}")
    graph = export_graph(record, names, output_names)
    config = record.plan.settings.config
    chip = state_platform(graph, platform, config.platform)
    written.rewrite(graph, Destination(chip, opset))
    if opset >= AXES_ARE_INPUTS:
        axes_as_inputs(graph)
    model = to_model(graph, opset, config.compat, written.files)
    if written.checked:
        enforce(check_onnx(model, chip), str(path), strict=strict)
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
        name = key.strip("'\"")
        if head == "args":
            name = parameters[int(key)] if int(key) < len(parameters) else f"input_{key}"
        names.append(name + "".join(c if c.isalnum() else "_" for c in inner).rstrip("_"))
    return names
