"""What a run of a file gave: real numbers, integers, and the table of ``linger-jax run``."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from rich.markup import escape
from rich.table import Table

from linger_jax.cli.inspect_command import sparkline
from linger_jax.errors import LingerError
from linger_jax.export.onnx import FileGraph
from linger_jax.export.runner import IntegerTensor, Value, limits
from linger_jax.typing import HostArray

_STORED = (np.int8, np.int16, np.int32)


def source_of(graph: FileGraph, name: str) -> str:
    """The tensor that holds the integers of a tensor: what the ``Dequant`` that made it reads, else itself."""
    made = next((node for node in graph.nodes if name in node.outputs), None)
    return made.inputs[0] if made is not None and made.op == "linger::Dequant" else name


def real(value: Value) -> HostArray:
    """The real numbers of a tensor."""
    return np.asarray(value.real() if isinstance(value, IntegerTensor) else value)


def integers_of(name: str, value: Value) -> HostArray:
    """The integers of a tensor, in the smallest type of its width, as the device returns them.

    Raises:
      LingerError: it is not quantized.
    """
    if not isinstance(value, IntegerTensor):
        raise LingerError(f"--integers: {name} is not quantized; leave --integers out for it")
    dtype = next(dtype for dtype in _STORED if value.bits <= np.iinfo(dtype).bits)
    return np.asarray(value.value).astype(dtype)


def results_table(title: str, inputs: Mapping[str, HostArray], results: Mapping[str, Value]) -> Table:
    """A line for each input and result: format, range, and how much of it saturates.

    Args:
      title: of the table.
      inputs: what was given, by name.
      results: what came out, as integers where it is quantized.
    """
    table = Table(title=escape(title))
    for column in ("", "tensor", "shape", "format"):
        table.add_column(column, overflow="fold")
    for column in ("least", "largest", "mean", "at limits"):
        table.add_column(column, justify="right")
    table.add_column("distribution", no_wrap=True)
    for role, values in (("input", inputs), ("result", results)):
        for name, value in values.items():
            array = real(value)
            numbers = (
                [f"{number:.4g}" for number in (array.min(), array.max(), array.mean())] if array.size else [""] * 3
            )
            shape = "x".join(map(str, array.shape)) or "scalar"
            table.add_row(role, escape(name), shape, *_form(value), *numbers, _saturated(value), sparkline(array))
    return table


def _form(value: Value) -> list[str]:
    if isinstance(value, IntegerTensor):
        return [f"{value.bits} bits, scale {value.scale:g}"]
    return [str(value.dtype)]


def _saturated(value: Value) -> str:
    """Share of a quantized tensor at the ends of its range."""
    if not isinstance(value, IntegerTensor) or not value.value.size:
        return ""
    steps = np.asarray(value.value)
    return f"{np.isin(steps, limits(value.bits)).mean():.1%}"
