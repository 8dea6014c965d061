"""The plan: what happens to each layer and operator of one call of a model."""

from __future__ import annotations

import dataclasses
import difflib
import io
import warnings
from collections.abc import Mapping
from typing import Literal

from rich.console import Console
from rich.table import Table

from linger_jax.errors import LingerError, LingerWarning
from linger_jax.path_patterns import matches
from linger_jax.plan.flatten import flatten
from linger_jax.plan.graph import Graph, Node, Quantizer
from linger_jax.plan.planner import Planner
from linger_jax.plan.recognition import recognise
from linger_jax.plan.settings import PlanSettings
from linger_jax.plan.templates import TEMPLATES
from linger_jax.staging import Staged
from linger_jax.staging.marker import Path

Status = Literal["quantized", "constrained", "passes", "float", "disabled"]


class PlanError(LingerError):
    """The model cannot be planned as asked."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the coverage table.

    Attributes:
      name: dotted path of the layer or of the operator's state.
      op: layer kind or operator.
      status: what happens to it.
      bits: bits of its result, where it is quantized.
      reason: why not, or a remark.
      source: ``file:line`` in the user's code.
    """

    name: str
    op: str
    status: Status
    bits: int | None
    reason: str
    source: str


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """A frozen, printable, comparable description; the interpreter, import and reports read this and nothing else.

    Attributes:
      graph: the decided graph.
      quantizers: every named quantizer, by path.
      settings: what the user asked for.
      staged: the trace it was made from.
      modules: dotted paths of all modules met.
    """

    graph: Graph
    quantizers: Mapping[Path, Quantizer]
    settings: PlanSettings
    staged: Staged
    modules: tuple[str, ...]

    def rows(self) -> tuple[Row, ...]:
        """The coverage table: every layer, every quantized operator, every place where a scale is lost."""
        return tuple(row for node in self.graph.walk() if (row := _row(node, self.settings)) is not None)

    @property
    def float_rows(self) -> tuple[Row, ...]:
        """What runs as float although the user did not ask for it."""
        return tuple(row for row in self.rows() if row.status == "float")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Plan):
            return NotImplemented
        return self.rows() == other.rows() and dict(self.quantizers) == dict(other.quantizers)

    __hash__ = None  # type: ignore[assignment]

    def table(self) -> Table:
        """The coverage table for ``rich``."""
        table = Table(title=f"linger_jax plan, platform {self.settings.config.platform.value}")
        for column in ("name", "operator", "status", "bits", "remark", "source"):
            table.add_column(column, overflow="fold")
        colours = {"quantized": "green", "constrained": "green", "passes": "cyan", "float": "red", "disabled": "dim"}
        for row in self.rows():
            status = f"[{colours[row.status]}]{row.status}[/]"
            bits = "" if row.bits is None else str(row.bits)
            table.add_row(row.name, row.op, status, bits, row.reason.replace("[", r"\["), row.source)
        return table

    def __str__(self) -> str:
        console = Console(width=120, record=True, file=io.StringIO(), color_system=None)
        console.print(self.table())
        return console.export_text()


def _row(node: Node, settings: PlanSettings) -> Row | None:
    constrain = settings.purpose == "constrain"
    bits = next((b for b in node.bits if b is not None), None)
    if node.layer is None and node.site is None and not node.reason:
        return None
    if node.quantized:
        passes = node.reason == "passes through"
        status: Status = "passes" if passes else "constrained" if constrain else "quantized"
    elif node.layer is not None and node.layer.kind == "dropout":
        status = "passes"
    else:
        status = "disabled" if node.reason.startswith("disable_") else "float"
    op = node.op if node.layer is None else node.layer.type_name
    op = str(node.attributes.get("name", op)) if op in ("jit", "custom_jvp_call") else op
    return Row(node.label, op, status, bits, node.reason, node.source)


def build_plan(staged: Staged, settings: PlanSettings, argument_bits: tuple[int | None, ...] = ()) -> Plan:
    """Plans a staged call.

    Args:
      staged: the traced model.
      settings: what to quantize and how.
      argument_bits: bits of each call argument that is a ``QTensor``, else None.

    Raises:
      PlanError: with ``strict``, anything that stays float unasked or a pattern that matches no module; under
        ``compat: chip`` a part that names no module.
      PlatformLimitError: a layer outside the platform's limits.

    Warns:
      LingerWarning: a ``disable_submodel`` pattern that matches no module.
    """
    raw = recognise(flatten(staged.jaxpr, staged.variables), TEMPLATES)
    planner = Planner(settings)
    arguments = argument_bits or (None,) * len(staged.arguments)
    graph, _ = planner.graph(raw, ((None,) * len(staged.variables)) + arguments)
    plan = Plan(graph, dict(planner.state.quantizers), settings, staged, _module_paths(graph))
    _check_names(plan)
    if settings.strict and plan.float_rows:
        lines = "\n".join(
            f"  {r.name}: {r.op}: {r.reason}" + (f" ({r.source})" if r.source else "") for r in plan.float_rows
        )
        raise PlanError(f"strict: these would run as float; change the model or disable them by name:\n{lines}")
    return plan


def _module_paths(graph: Graph) -> tuple[str, ...]:
    paths: dict[str, None] = {}
    for node in graph.walk():
        for path in (node.owner.path, node.layer.path if node.layer else ()):
            for depth in range(1, len(path) + 1):
                paths[".".join(path[:depth])] = None
    return tuple(paths)


def _check_names(plan: Plan) -> None:
    settings = plan.settings

    def nearest(pattern: str) -> str:
        close = difflib.get_close_matches(pattern.rstrip("*"), plan.modules, n=3)
        return f"; nearest: {', '.join(close)}" if close else f"; modules are: {', '.join(plan.modules)}"

    for pattern in settings.disable_submodel:
        if not any(matches(pattern, path) for path in plan.modules):
            text = f"disable_submodel: {pattern!r} matches no module of the model{nearest(pattern)}"
            if settings.strict:
                raise PlanError(text)
            warnings.warn(text, LingerWarning, stacklevel=2)
    if settings.choices.parts_must_match:
        for part in settings.config.parts:
            for name in part.name:
                if not any(matches(name, path) for path in plan.modules):
                    raise PlanError(f"configuration: part name {name!r} matches no module of the model{nearest(name)}")
