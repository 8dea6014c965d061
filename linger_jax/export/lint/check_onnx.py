"""``check_onnx``: the lint of a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from linger_jax.errors import ExportError
from linger_jax.export.lint.checks import CHECKS, file_checks
from linger_jax.export.lint.device_report import DeviceReport
from linger_jax.export.lint.finding import Finding, Problem, Severity
from linger_jax.export.lint.node_view import NodeView
from linger_jax.export.lint.pack_options import PackOptions
from linger_jax.export.lint.program import Program, program
from linger_jax.export.onnx import FileGraph, read_model, read_onnx
from linger_jax.foreign_file import translated
from linger_jax.targets import PLATFORM_OF_UNMARKED_FILES, Platform, packed_platforms

if TYPE_CHECKING:
    from onnx import ModelProto


def check_onnx(model: str | Path | ModelProto, platform: Platform | str | None = None) -> DeviceReport:
    """Says what the vendor's packer and executor will make of a file, without running them.

    Every rule of docs/specification/onnx_export.md sections 4 and 5 is one row of a table of checks.

    Args:
      model: an ``.onnx`` file, of this package or of linger, or a model in memory.
      platform: the target chip; None takes the one that the file names (venus where it names none, as the packer does).

    Returns:
      The findings: what the packer refuses, what the executor computes otherwise, and the packer options that the file
      needs.

    Raises:
      ExportError: the file cannot be read, or the platform is not known.
    """
    if isinstance(model, str | Path):
        name, graph = str(model), read_onnx(model)
    else:
        name, graph = "the model", read_model(model, "the model")
    with translated(name, ExportError, "cannot be judged", "export it again"):
        named = _named(graph)
        target = (
            _platform(str(platform))
            if platform is not None
            else _platform(min(named, default=PLATFORM_OF_UNMARKED_FILES))
        )
        return check_program(program(graph, target))


def check_program(whole: Program) -> DeviceReport:
    """``check_onnx`` of a file that was read."""
    target = whole.platform
    first = DeviceReport(target, (*_platforms(whole.graph, _named(whole.graph), target), *_of_nodes(whole)))
    return DeviceReport(target, (*_of_file(whole, first.options), *first.findings))


def _named(graph: FileGraph) -> set[str]:
    """The chips that nodes name."""
    return {str(n.attributes["platform"]) for n in graph.nodes if n.attributes.get("platform")}


def _platform(name: str) -> Platform:
    found = [platform for platform in packed_platforms() if platform.value.lower() == name.lower()]
    if not found:
        raise ExportError(f"the packer does not know platform {name!r}; allowed: {', '.join(packed_platforms())}")
    return found[0]


def _platforms(graph: FileGraph, named: set[str], target: Platform) -> Iterator[Finding]:
    others = sorted(p for p in named if p.lower() != target.value.lower())
    if others:
        nodes = [n for n in graph.nodes if str(n.attributes.get("platform")) in others]
        yield Finding(
            check="platform",
            node=nodes[0].name,
            op=nodes[0].written,
            layer=nodes[0].layer,
            severity=Severity.refuse,
            found=f"{len(nodes)} nodes for {', '.join(others)}",
            limit=f"{target.value} on every node",
            remedy=f"Export with platform={target.value!r}",
        )


def _of_file(whole: Program, options: PackOptions) -> Iterator[Finding]:
    for name, look in file_checks.CHECKS.items():
        for problem in look(whole, options):
            yield _finding(name, problem)


def _of_nodes(whole: Program) -> Iterator[Finding]:
    computing = {node.name for node in whole.graph.computing}
    for view in whole.views:
        if view.node.name not in computing:
            continue
        for check in CHECKS:
            if not check.concerns(view, whole):
                continue
            with translated(f"node {view.node.name} ({view.node.op})", ExportError, f"{check.name} makes no sense"):
                yield from [_finding(check.name, problem, view) for problem in check.look(view, whole)]


def _finding(check: str, problem: Problem, view: NodeView | None = None) -> Finding:
    said = {field.name: getattr(problem, field.name) for field in dataclasses.fields(problem)}
    if view is None:
        return Finding(check=check, node="", op="", layer="", **said)
    return Finding(check=check, node=view.node.name, op=view.written, layer=view.node.layer, **said)
