"""Parts of a graph that compute a function of one quantized value, element by element: tables (docs/decisions.md D37).

What a compiler makes of such a part is no business of a chip, which knows 256 operands and looks up as many results. A
part is as large as it can be, and holds a step that has no quantized form of its own.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Callable, Iterator, Sequence, Set
from typing import Any

import jax
import numpy as np

from linger_jax.compat import is_tracer
from linger_jax.kinds import ADD, MOVES, MUL, OPERATORS, RELU, RELU6, TABLE, OperatorKind
from linger_jax.numerics.look_up import (
    CALLS,
    OPERAND_BITS,
    NoHostFunctionError,
    evaluated_on_host,
    function_table,
    unknown_to_host,
)
from linger_jax.plan.graph import NO_TABLE, RESULTS, Atom, Constant, Graph, Node, Uses, ValueId
from linger_jax.plan.settings import PlanSettings

_OF_EACH_ELEMENT = (ADD, MUL, RELU, RELU6, *(kind for kind in OPERATORS if kind.is_function_of_each_element))
_KINDS_OF_NUMBERS = (np.dtype(np.float32), np.dtype(np.bool_))


def host_lacks(node: Node) -> str | None:
    """What keeps the host from evaluating a raw step element by element: the name of a primitive; None for nothing."""
    if node.layer is not None or node.body is not None or node.run is None or len(node.outputs) != 1:
        return node.op
    if node.kind in _OF_EACH_ELEMENT:
        return None
    return unknown_to_host(node.op, (node.attributes["jaxpr"],) if node.op in CALLS else ())


class FunctionRegions:
    """The tables of one graph, found while its nodes are decided in order.

    Args:
      graph: the recognised graph.
      settings: what the user asked for.
      is_owned: whether the module around a step may have operators.
    """

    def __init__(self, graph: Graph, settings: PlanSettings, is_owned: Callable[[Node], bool]) -> None:
        self._graph = graph
        self._settings = settings
        self._is_owned = is_owned
        self._nodes = list(graph.nodes)
        self._finds = (
            settings.purpose == "quantize"
            and settings.semantics.functions_are_tables
            and settings.disabled_operator(TABLE) is None
        )
        self._taken: set[int] = set()
        self._tables: dict[int, Node] = {}
        self._failed: set[int] = set()
        self._reasons: dict[int, str] = {}
        if self._finds:
            self._uses = Uses(graph, self._nodes)
            self._outputs = {a for a in graph.outputs if not isinstance(a, Constant)}
            self._readers: dict[ValueId, list[int]] = {}
            for index, node in enumerate(self._nodes):
                for value in {a for a in node.inputs if not isinstance(a, Constant)}:
                    self._readers.setdefault(value, []).append(index)
            self._is_elementwise = [self._elementwise(node) for node in self._nodes]
            self._known = self._known_values()

    def enter(self, value: ValueId, bits: int | None) -> None:
        """Looks for tables of a value that was decided."""
        if not self._finds or bits is None or bits > OPERAND_BITS:
            return
        while (found := self._largest(value)) is not None:
            region, node = found
            self._taken |= self._replaced(region)
            self._tables[region[-1]] = node

    def at(self, index: int) -> Node | None:
        """What stands at a place: the raw node, the table that it completes, or None where a table holds it."""
        if index in self._tables:
            return self._tables[index]
        if index in self._taken:
            return None
        node, reason = self._nodes[index], self._reasons.get(index)
        return node if reason is None else dataclasses.replace(node, attributes={**node.attributes, NO_TABLE: reason})

    # --- what a region may hold ---

    def _elementwise(self, node: Node) -> bool:
        if host_lacks(node) is not None or self._graph.infos[node.outputs[0]].dtype not in _KINDS_OF_NUMBERS:
            return False
        kind = node.kind
        if isinstance(kind, OperatorKind) and self._settings.disabled_operator(kind) is not None:
            return False
        return self._is_owned(node)

    def _known_values(self) -> set[ValueId]:
        """Values that are computed from constants alone."""
        known: set[ValueId] = set()
        for node in self._nodes:
            if host_lacks(node) is None and all(self._is_known(a, known) for a in node.inputs):
                known.update(node.outputs)
        return known

    @staticmethod
    def _is_known(atom: Atom, known: set[ValueId]) -> bool:
        return not is_tracer(atom.value) if isinstance(atom, Constant) else atom in known

    def _has_no_form(self, node: Node, source: ValueId) -> bool:
        """Whether a step would leave the grid: it is what a table is for."""
        if self._graph.infos[node.outputs[0]].dtype != np.float32:
            return False  # a mask: nothing is lost by it
        kind = node.kind
        if isinstance(kind, OperatorKind):
            return not kind.runs_on(self._settings.config.platform)
        if kind == RELU6:
            return not self._rectifies(node, source)  # of a layer it is a rectifier
        move = MOVES.get(node.op)
        return kind is None and (move is None or move.grid is None)

    def _rectifies(self, node: Node, source: ValueId) -> bool:
        """Whether nothing but rectifiers lies between a value and a rectifier."""
        atom = node.inputs[0]
        while atom != source:
            maker = self._uses.maker_of(atom)
            if maker is None or self._nodes[maker].kind not in (RELU, RELU6):
                return False
            atom = self._nodes[maker].inputs[0]
        return True

    # --- how far it reaches ---

    def _largest(self, source: ValueId) -> tuple[list[int], Node] | None:
        """The largest table of a value that is left: its nodes in order, and what takes their place."""
        members = list(self._functions_of(source))
        for last in reversed(members):
            region = self._needed(last, source)
            is_float = self._graph.infos[self._nodes[last].outputs[0]].dtype == np.float32
            if not is_float or last in self._failed:
                continue
            if not any(self._has_no_form(self._nodes[i], source) for i in region):
                continue
            if not self._is_configured_alike(region) or not self._is_closed(region):
                continue
            try:
                return region, self._table(source, region)
            except NoHostFunctionError as error:
                self._failed.add(last)
                self._reasons |= dict.fromkeys(region, str(error))
        return None

    def _functions_of(self, source: ValueId) -> Iterator[int]:
        """Nodes that are a function of a value, element by element, in order."""
        shape, reached = self._graph.infos[source].shape, {source}
        waiting, seen = list(self._readers.get(source, ())), set[int]()
        heapq.heapify(waiting)
        while waiting:
            index = heapq.heappop(waiting)
            if index in seen or index in self._taken or not self._is_elementwise[index]:
                continue
            seen.add(index)
            node = self._nodes[index]
            operands = [a for a in node.inputs if not self._is_known(a, self._known)]
            if all(a in reached for a in operands) and self._graph.infos[node.outputs[0]].shape == shape:
                reached.update(node.outputs)
                yield index
                for reader in self._readers.get(node.outputs[0], ()):
                    heapq.heappush(waiting, reader)

    def _needed(self, last: int, source: ValueId) -> list[int]:
        """The nodes that a node's result depends on behind a value, and itself, in order."""
        found, waiting = {last}, [last]
        while waiting:
            for atom in self._nodes[waiting.pop()].inputs:
                maker = None if atom == source else self._uses.maker_of(atom)
                if maker is not None and maker not in found:
                    found.add(maker)
                    waiting.append(maker)
        return sorted(found)

    def _is_configured_alike(self, region: Sequence[int]) -> bool:
        """Whether one configuration holds for all of its modules."""
        owners = {self._nodes[i].owner.path for i in region if self._nodes[i].outputs[0] not in self._known}
        first, *others = (self._settings.config.for_path(".".join(path)) for path in owners)
        return all(other == first for other in others)

    def _is_closed(self, region: Sequence[int]) -> bool:
        """Whether nobody else reads what is computed on the way; masks and known values are computed for others too."""
        inside = set(region)
        for index in region[:-1]:
            (value,) = self._nodes[index].outputs
            is_free = value in self._known or self._graph.infos[value].dtype == np.bool_
            if not is_free and not self._is_read_by(value, inside):
                return False
        return True

    def _replaced(self, region: Sequence[int]) -> set[int]:
        """The nodes that nobody reads once the table stands in the place of the last."""
        replaced = {region[-1]}
        for index in reversed(region[:-1]):
            if self._is_read_by(self._nodes[index].outputs[0], replaced):
                replaced.add(index)
        return replaced

    def _is_read_by(self, value: ValueId, nodes: Set[int]) -> bool:
        """Whether some nodes alone read a value."""
        return value not in self._outputs and nodes >= {*self._readers.get(value, ())}

    # --- the table ---

    def _table(self, source: ValueId, region: Sequence[int]) -> Node:
        """The node in the place of a region.

        Raises:
          NoHostFunctionError: the host cannot evaluate it.
        """
        nodes = [self._nodes[i] for i in region]
        last, info = nodes[-1], self._graph.infos[source]

        def run(operand: Any) -> list[Any]:
            values: dict[ValueId, Any] = {source: operand}
            for node in nodes:
                assert node.run is not None
                operands = [_value(a) if isinstance(a, Constant) else values[a] for a in node.inputs]
                values.update(zip(node.outputs, node.run(*operands), strict=True))
            return [values[last.outputs[0]]]

        closed = jax.make_jaxpr(run)(jax.ShapeDtypeStruct(info.shape, info.dtype))
        table = function_table(lambda x: evaluated_on_host(closed, x))
        without_form = [node for node in nodes if self._has_no_form(node, source)]
        names = dict.fromkeys(str(node.attributes.get("name", node.op)) for node in without_form)
        return dataclasses.replace(
            last,
            op=TABLE.name,
            inputs=(source,),
            attributes={RESULTS: table},
            run=run,
            source=without_form[-1].source or last.source,
            reason=f"{', '.join(names)} as a table of its results",
        )


def _value(constant: Constant) -> Any:
    return np.asarray(constant.value, constant.dtype)
