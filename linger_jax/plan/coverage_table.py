"""The coverage table of a plan: one row for each layer, quantized operator and lost scale."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from linger_jax.compat import CALL
from linger_jax.plan.device_verdict import DeviceVerdict
from linger_jax.plan.graph import Composite, Graph, Node
from linger_jax.plan.settings import PlanSettings

Status = Literal["quantized", "constrained", "passes", "float", "disabled"]

_COLOURS: dict[Status, str] = {
    "quantized": "green",
    "constrained": "green",
    "passes": "cyan",
    "float": "red",
    "disabled": "dim",
}
_WIDTH = 120


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the coverage table.

    Attributes:
      name: dotted path of the layer, of the operator's state, or of the module around a step without state.
      op: layer class or operator.
      status: what happens to it.
      bits: bits of its result, where it is quantized.
      reason: why not, or a remark.
      source: ``file:line`` in the user's code.
      device: what the chip makes of it, where a plan has a verdict (docs/decisions.md D33); rows are compared without.
      steps: value ids of the first results of the steps that it stands for, likewise.
    """

    name: str
    op: str
    status: Status
    bits: int | None
    reason: str
    source: str
    device: str = dataclasses.field(default="", compare=False)
    steps: tuple[int, ...] = dataclasses.field(default=(), compare=False, repr=False)


def rows(graph: Graph, settings: PlanSettings) -> tuple[Row, ...]:
    """Every layer, every quantized operator, every place where a scale is lost, in execution order.

    A float composite (a recurrent layer) is one row, whatever is inside it.
    """
    found: list[Row] = []
    composites: set[Composite] = set()
    for node in graph.walk():
        composite = node.owner.composite
        if composite is None:
            row = _row(node, settings)
            if row is not None:
                found.append(row)
        elif composite not in composites:
            composites.add(composite)
            found.append(_composite_row(composite, graph, settings))
    return tuple(found)


def _row(node: Node, settings: PlanSettings) -> Row | None:
    # What passes a scale on is worth a row, since a chip runs it as a step of its own.
    passes = node.kind is not None and node.kind.passes
    if node.layer is None and node.state_path is None and not passes and not node.reason:
        return None
    bits = next((b for b in node.bits if b is not None), None)
    status: Status
    if passes and (node.quantized or node.layer is not None):
        status = "passes"
    elif node.quantized:
        status = "constrained" if settings.purpose == "constrain" else "quantized"
    elif node.layer is None and not node.reason:
        return None
    else:
        status = "disabled" if node.reason.startswith("disable") else "float"
    op = node.op if node.layer is None else node.layer.type_name
    op = str(node.attributes.get("name", op)) if op == CALL else op
    return Row(node.label, op, status, bits, node.reason, node.source, steps=node.outputs[:1])


def _composite_row(composite: Composite, graph: Graph, settings: PlanSettings) -> Row:
    inside = [n for n in graph.walk() if n.owner.composite == composite]
    disabled = [r for n in inside if (r := settings.disabled(n.owner.path, n.owner.module_types)) is not None]
    status: Status = "disabled" if disabled else "float"
    reason = disabled[0] if disabled else f"a {composite.what}: not covered yet"
    source = next((n.source for n in inside if n.source), "")
    steps = tuple(output for n in inside for output in n.outputs[:1])
    name = ".".join(composite.path) or "<root>"
    return Row(name, composite.type_name, status, None, reason, source, steps=steps)


def table(lines: Sequence[Row], title: str, caption: str | None = None) -> Table:
    """The rows for ``rich``; the column ``device`` only where there is something in it."""
    device = ("device",) if any(row.device for row in lines) else ()
    result = Table(title=title, caption=caption)
    for column in ("name", "operator", "status", "bits", *device, "remark", "source"):
        result.add_column(column, overflow="fold")
    for row in lines:
        status = f"[{_COLOURS[row.status]}]{row.status}[/]"
        bits = "" if row.bits is None else str(row.bits)
        verdict = (escape(row.device),) if device else ()
        texts = (escape(row.reason), escape(row.source))
        result.add_row(escape(row.name), escape(row.op), status, bits, *verdict, *texts)
    return result


def memory_table(lines: Sequence[Row], verdict: DeviceVerdict) -> Table:
    """What each row takes of a chip's memory, for ``rich``; rows that take nothing are left out."""
    result = Table(title=f"memory of {verdict.platform}, bytes", caption=str(verdict.memory))
    for column in ("name", "operator"):
        result.add_column(column, overflow="fold")
    for column in ("weights", "largest activation"):
        result.add_column(column, justify="right")
    for row, judgement in zip(lines, verdict.rows, strict=True):
        if judgement.weights or judgement.activations:
            sizes = (f"{judgement.weights:,}", f"{judgement.activations:,}")
            result.add_row(escape(row.name), escape(row.op), *sizes)
    return result


def as_text(content: Table) -> str:
    """A table as plain text."""
    console = Console(width=_WIDTH, record=True, file=io.StringIO(), color_system=None)
    console.print(content)
    return console.export_text()
