"""The plan: what happens to each layer and operator of one call of a model."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable, Mapping

from rich.markup import escape
from rich.table import Table

from linger_jax.errors import LingerWarning, PlanError
from linger_jax.nearest_name import nearest_name
from linger_jax.path_patterns import unmatched
from linger_jax.plan import coverage_table
from linger_jax.plan.coverage_table import Row
from linger_jax.plan.decide import Decisions, plan_graph, replaced_epsilons, tie_concatenations
from linger_jax.plan.device_verdict import DeviceVerdict
from linger_jax.plan.fuse import fuse
from linger_jax.plan.graph import Graph, Quantizer
from linger_jax.plan.multiply_accumulates import MultiplyAccumulates, multiply_accumulates
from linger_jax.plan.recognize import TEMPLATES, flatten, recognise, with_custom_layers
from linger_jax.plan.settings import PlanSettings
from linger_jax.staging import Staged
from linger_jax.typing import Path


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """A frozen, printable, comparable description; the interpreter, import and reports read this and nothing else.

    Two plans are equal when their tables and their quantizers are.

    Attributes:
      graph: the decided graph.
      quantizers: every named quantizer, by path.
      settings: what the user asked for.
      staged: the trace it was made from.
      modules: dotted paths of all modules met.
      remarks: on rows, by layer: what the scales of a model's variables say, where they are known.
      device: what the chip makes of it, where that was asked for (docs/decisions.md D33).
      warnings: what the user should know when the model is made: functions that the platform has no kernel for,
        constants that their own quantizers clip, epsilons that the chip replaces.
    """

    graph: Graph
    quantizers: Mapping[Path, Quantizer]
    settings: PlanSettings
    staged: Staged
    modules: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    remarks: Mapping[str, str] = dataclasses.field(default_factory=dict)
    device: DeviceVerdict | None = None

    def rows(self) -> tuple[Row, ...]:
        """The coverage table: every layer, every quantized operator, every place where a scale is lost."""
        found = coverage_table.rows(self.graph, self.settings)
        verdicts = map(str, self.device.rows) if self.device is not None else ("" for _ in found)
        return tuple(
            dataclasses.replace(
                row, reason="; ".join(filter(None, (row.reason, self.remarks.get(row.name, "")))), device=verdict
            )
            for row, verdict in zip(found, verdicts, strict=True)
        )

    @property
    def float_rows(self) -> tuple[Row, ...]:
        """What runs as float although the user did not ask for it."""
        return tuple(row for row in self.rows() if row.status == "float")

    @property
    def multiply_accumulates(self) -> MultiplyAccumulates:
        """How many multiply-accumulates the call needs, and how many of them are quantized."""
        return multiply_accumulates(self.graph)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Plan):
            return NotImplemented
        return self.rows() == other.rows() and dict(self.quantizers) == dict(other.quantizers)

    __hash__ = None  # type: ignore[assignment]

    def table(self) -> Table:
        """The coverage table for ``rich``."""
        title = f"linger_jax plan, platform {self.settings.config.platform.value}"
        settings = self.settings
        is_off = settings.purpose == "quantize" and settings.semantics.tells_clamps and not settings.config.names_clamps
        clamps = ("clamps: off, since no clamp_info is named",) if is_off else ()
        lines = [*clamps, str(self.multiply_accumulates), *(self.device.lines() if self.device is not None else ())]
        return coverage_table.table(self.rows(), title, escape("\n".join(lines)))

    def memory_table(self) -> Table | None:
        """Bytes of each row's constants and of its largest result, for ``rich``; None without a verdict."""
        if self.device is None or self.device.memory is None:
            return None
        return coverage_table.memory_table(self.rows(), self.device)

    def __str__(self) -> str:
        tables = (self.table(), self.memory_table())
        return "".join(coverage_table.as_text(table) for table in tables if table is not None)


def build_plan(staged: Staged, settings: PlanSettings, argument_bits: tuple[int | None, ...] = ()) -> Plan:
    """Plans a staged call.

    Args:
      staged: the traced model.
      settings: what to quantize and how.
      argument_bits: bits of each call argument that is a ``QTensor``, else None.

    Raises:
      PlanError: with ``strict``, anything that stays float unasked or a pattern that matches no module; under
        ``compat: chip`` a part that names no module; fused layers that this call uses in another way.
      PlatformLimitError: a layer outside the platform's limits.

    Warns:
      LingerWarning: a ``disable_submodel`` pattern that matches no module.
    """
    raw, paths = flatten(staged.jaxpr, staged.variables)
    recognised = fuse(recognise(raw, TEMPLATES), settings.fusion.pairs)
    modules = _with_modules_around(paths)
    if settings.config.quantizes_custom_layers:
        taken = {*paths, *(path[1:] for path in staged.variables)}
        recognised, custom = with_custom_layers(recognised, taken)
        modules = tuple(dict.fromkeys((*modules, *(".".join(path) for path in custom))))
    _check_names(settings, modules)
    decisions = Decisions(settings)
    arguments = argument_bits or (None,) * len(staged.arguments)
    graph, _ = plan_graph(decisions, recognised, ((None,) * len(staged.variables)) + arguments)
    notes = (*decisions.warnings, *replaced_epsilons(graph.walk(), settings))
    graph, quantizers = tie_concatenations(graph, decisions.quantizers, settings)
    plan = Plan(graph, quantizers, settings, staged, modules, notes)
    if settings.strict and plan.float_rows:
        lines = "\n".join(
            f"  {r.name}: {r.op}: {r.reason}" + (f" ({r.source})" if r.source else "") for r in plan.float_rows
        )
        raise PlanError(f"strict: these would run as float; change the model or disable them by name:\n{lines}")
    return plan


def _with_modules_around(paths: Iterable[Path]) -> tuple[str, ...]:
    prefixes = (".".join(path[:depth]) for path in paths for depth in range(1, len(path) + 1))
    return tuple(dict.fromkeys(prefixes))


def _check_names(settings: PlanSettings, modules: tuple[str, ...]) -> None:
    known = ("", *modules)
    parts = settings.config.unmatched_part_names(known) if settings.semantics.parts_must_match else ()
    if parts:
        raise PlanError("\n".join(_no_such_module("configuration: part name", name, modules) for name in parts))
    patterns = unmatched(settings.disable_submodel, known, literal=settings.semantics.patterns_are_literal)
    for pattern in patterns:
        text = _no_such_module("disable_submodel:", pattern, modules)
        if settings.strict:
            raise PlanError(text)
        warnings.warn(text, LingerWarning, stacklevel=2)


def _no_such_module(where: str, name: str, modules: tuple[str, ...]) -> str:
    nearest = nearest_name(name.removesuffix("*"), modules)
    advice = f"did you mean {nearest!r}?" if nearest else f"the modules are: {', '.join(modules) or 'the root alone'}"
    return f"{where} {name!r} matches no module of the model; {advice}"
