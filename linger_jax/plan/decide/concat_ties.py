"""One output scale for everything that meets in a concatenation (docs/decisions.md D22).

The executor of venusA can only shift left in a concatenation: an operand of a finer scale than the result comes out
wrong (docs/specification/onnx_export.md section 5). Quantizers whose values meet there, the concatenation's own
included, are therefore tied: they share the smallest of their scales, so that nothing is shifted at all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from linger_jax.kinds import AVG_POOL, CAT, GridOf
from linger_jax.plan.graph import Atom, Constant, Graph, Node, Quantizer, ValueId
from linger_jax.plan.settings import PlanSettings
from linger_jax.typing import Path


def tie_concatenations(
    graph: Graph, quantizers: Mapping[Path, Quantizer], settings: PlanSettings
) -> tuple[Graph, dict[Path, Quantizer]]:
    """The graph with remarks on what is tied, and the quantizers with their ties.

    What cannot be tied is named in the concatenation's remark: results of a fixed scale, of tables and of recurrent
    layers, arguments of the model, and values from outside of a loop's body.
    """
    if not settings.config.ties_concat_scales or settings.purpose == "constrain":
        return graph, dict(quantizers)
    return _tie_region(graph, dict(quantizers))


def _tie_region(graph: Graph, quantizers: dict[Path, Quantizer]) -> tuple[Graph, dict[Path, Quantizer]]:
    nodes = []
    for node in graph.nodes:
        if node.body is not None:
            body, quantizers = _tie_region(node.body, quantizers)
            node = dataclasses.replace(node, body=body)
        nodes.append(node)
    region = _Region(graph, nodes, quantizers)
    for node in nodes:
        if node.quantized and node.state_path is not None and node.kind == CAT:
            region.concatenation(node)
    groups = region.groups()
    for group in groups:
        for path in group:
            quantizers[path] = dataclasses.replace(quantizers[path], tied=group)
    partners = {path: group for group in groups for path in group}
    return dataclasses.replace(graph, nodes=tuple(region.remarked(node, partners) for node in nodes)), quantizers


class _Region:
    """What meets where in one straight-line region."""

    def __init__(self, graph: Graph, nodes: list[Node], quantizers: Mapping[Path, Quantizer]) -> None:
        self._infos = graph.infos
        self._quantizers = quantizers
        self._makers: dict[ValueId, tuple[Node, int]] = {}
        for node in nodes:
            self._makers.update((value, (node, i)) for i, value in enumerate(node.outputs))
        self._leader: dict[Path, Path] = {}
        self._untied: dict[Path, list[str]] = {}

    def concatenation(self, node: Node) -> None:
        """Ties the quantizers that give a concatenation's operands their scales to its own."""
        own = node.quantizer_path("output_quantizer")
        self._join(own, own)
        for position, atom in enumerate(node.inputs):
            if 0 in (atom.shape if isinstance(atom, Constant) else self._infos[atom].shape):
                continue  # it has no elements, and its quantizer sees none
            entering = node.quantizer_path("input_quantizer", str(position))
            found = entering if self._quantizers[entering].active else self._source(atom)
            if isinstance(found, tuple) and self._quantizers[found].stack == self._quantizers[own].stack:
                self._join(own, found)
            else:
                what = found if isinstance(found, str) else f"{'.'.join(found[:-1])} outside of the loop"
                self._untied.setdefault(own, []).append(what)

    def _source(self, atom: Atom) -> Path | str:
        """The quantizer that gave a value its scale, or in words what it is where that cannot be another."""
        while not isinstance(atom, Constant) and atom in self._makers:
            node, position = self._makers[atom]
            if (node.layer is None and node.state_path is None) or (node.kind is not None and node.kind.passes):
                parallel = node.move is not None and node.move.grid is GridOf.each
                atom = (
                    node.inputs[position] if parallel else next(a for a in node.inputs if not isinstance(a, Constant))
                )
                continue
            path = node.quantizer_path("output_quantizer")
            quantizer = self._quantizers.get(path)
            if node.kind == AVG_POOL and quantizer is not None and not quantizer.active:
                entering = node.quantizer_path("input_quantizer")
                if self._quantizers[entering].active:
                    return entering
                atom = node.inputs[0]
                continue
            if quantizer is None or (node.layer is not None and node.layer.kind.cell is not None):
                return f"{node.label} has no output scale of its own"
            if quantizer.fixed_scale is not None:
                return f"the scale of {node.label} is fixed"
            return path
        return "a value from outside"

    def _join(self, one: Path, other: Path) -> None:
        first, second = self._find(one), self._find(other)
        if first != second:
            self._leader[second] = first

    def _find(self, path: Path) -> Path:
        while self._leader.setdefault(path, path) != path:
            path = self._leader[path]
        return path

    def groups(self) -> list[tuple[Path, ...]]:
        """The tied quantizers, those of one scale together."""
        members: dict[Path, list[Path]] = {}
        for path in self._leader:
            members.setdefault(self._find(path), []).append(path)
        return [tuple(group) for group in members.values() if len(group) > 1]

    def remarked(self, node: Node, partners: Mapping[Path, tuple[Path, ...]]) -> Node:
        """The node with what is tied, or cannot be, as a remark."""
        if node.state_path is None:
            return node
        own = node.quantizer_path("output_quantizer")
        group = partners.get(own, ())
        remarks = [node.reason] if node.reason else []
        if group:
            others = [
                ".".join(path[:-1]) for path in group if path != own and path[: len(node.state_path)] != node.state_path
            ]
            remarks.append(f"output scale tied to {', '.join(others)}" if others else "operand and output scale tied")
        if own in self._untied:
            remarks.append(f"the executor can only shift left here, and cannot be tied: {', '.join(self._untied[own])}")
        return dataclasses.replace(node, reason="; ".join(remarks))
