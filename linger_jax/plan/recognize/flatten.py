"""From a staged jaxpr to a raw graph: nested jits inlined, scopes resolved into owners, control flow as bodies."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from linger_jax.compat import (
    CALL,
    REMAT,
    SCAN,
    ClosedJaxpr,
    JaxprEqn,
    Operation,
    Var,
    as_function,
    constants,
    equations,
    inputs,
    is_literal,
    is_tracer,
    one_equation,
    operation,
    outputs,
)
from linger_jax.kinds import JOIN, MOVE_OF_PRIMITIVE, ParameterView
from linger_jax.plan.graph import (
    LOST,
    PRIMITIVE,
    SCAN_ID,
    Atom,
    Constant,
    Graph,
    Node,
    Owner,
    OwnerStack,
    ValueId,
    ValueInfo,
    source_line,
)
from linger_jax.plan.recognize.library_calls import inlined
from linger_jax.staging import layer_p, lost_p, scope_p
from linger_jax.typing import Path

_CAST = "convert_element_type"
_FLOAT32 = np.dtype(np.float32)


def _info(var: Any) -> ValueInfo:
    return ValueInfo(tuple(var.aval.shape), var.aval.dtype)


def _constant(value: Any, var: Any) -> Constant:
    return Constant(value, tuple(np.shape(value)), var.aval.dtype)


def _atom_info(atom: Atom, infos: Mapping[ValueId, ValueInfo]) -> ValueInfo:
    return ValueInfo(atom.shape, atom.dtype) if isinstance(atom, Constant) else infos[atom]


@dataclasses.dataclass
class _Region:
    """A region under construction.

    Attributes:
      infos, nodes: of the graph to be.
      owners: the activations around the equation that is looked at.
      env: what the jaxpr's variables are; inlined functions have one of their own.
      one_source: the equations are those of a function that rearranges one array.
      source: where the library function was called whose equations these are; inside it JAX keeps the lines of its
        first call in the process.
    """

    infos: dict[ValueId, ValueInfo]
    nodes: list[Node]
    owners: OwnerStack
    env: dict[Var, Atom]
    one_source: bool = False
    source: str | None = None

    def read(self, var: Any) -> Atom:
        return _constant(var.val, var) if is_literal(var) else self.env[var]


class Flattener:
    """Builds raw graphs; value ids and serials are unique over all regions of one plan.

    Attributes:
      modules: path of every module met, layers included, in order.
    """

    def __init__(self) -> None:
        self.modules: dict[Path, None] = {}
        self._ids = itertools.count()
        self._serials = itertools.count()
        self._owners = OwnerStack(self._serials)

    def flatten(self, closed: ClosedJaxpr, input_infos: Sequence[ValueInfo]) -> Graph:
        """The raw graph of a whole jaxpr."""
        return self._graph(closed, input_infos, self._owners)

    def _graph(self, closed: ClosedJaxpr, input_infos: Sequence[ValueInfo], owners: OwnerStack) -> Graph:
        region = _Region({}, [], owners.copy(), {})
        entering = tuple(self._define(region, v, info) for v, info in zip(inputs(closed), input_infos, strict=True))
        region.env.update((v, _constant(value, v)) for v, value in constants(closed))
        self._walk(closed, region)
        return Graph(entering, tuple(region.nodes), tuple(region.read(v) for v in outputs(closed)), region.infos)

    def _define(self, region: _Region, var: Var, info: ValueInfo) -> ValueId:
        value_id = next(self._ids)
        region.env[var] = value_id
        region.infos[value_id] = info
        return value_id

    def _walk(self, closed: ClosedJaxpr, region: _Region) -> None:
        for eqn in equations(closed):
            if eqn.primitive is scope_p:
                self.modules[eqn.params["path"]] = None
                region.owners.scope(eqn.params)
                continue
            operands = tuple(region.read(v) for v in eqn.invars)
            if eqn.primitive is lost_p:
                reason = f"inside {eqn.params['transformation']}: runs as float"
                region.nodes.append(_lost(eqn, eqn, reason, region.owners.current))
                continue
            what = operation(eqn)
            if not self._inline(eqn, what, operands, region) and not _fold(eqn, operands, region):
                region.nodes.extend(self._equation(eqn, what, operands, region))

    def _equation(self, eqn: JaxprEqn, what: Operation, operands: tuple[Atom, ...], region: _Region) -> list[Node]:
        """The node of an equation, with notes of layers that it hides and casts of what it reads as numbers."""
        name = what.name
        casts, operands = self._numbers(eqn, name, operands, region)
        common: dict[str, Any] = {
            "inputs": operands,
            "outputs": tuple(
                self._define(region, var, _result_info(eqn, var, operands, region.infos)) for var in eqn.outvars
            ),
            "owner": region.owners.current,
            "source": source_line(eqn) if region.source is None else region.source,
        }
        if eqn.primitive is layer_p:
            info, inner = eqn.params["info"], eqn.params["jaxpr"]
            self.modules.update(dict.fromkeys((info.path, *(path for path, _ in info.inside))))
            return [Node(op=info.kind.name, layer=info, jaxpr=inner, run=as_function(inner), **common)]
        if name == REMAT:
            body_infos = [_atom_info(a, region.infos) for a in operands]
            body = self._graph(what.params["jaxpr"], body_infos, region.owners)
            return [Node(op=REMAT, attributes=what.params, body=body, **common)]
        if name == SCAN:
            return [self._scan(what, operands, region, common)]
        if name == JOIN.primitive and region.one_source:
            name = JOIN.name
        attributes = {**what.params, PRIMITIVE: what.name}
        node = Node(op=name, attributes=attributes, run=one_equation(eqn), **common)
        return [*self._hidden_layers(eqn, what, region.owners.current), *casts, node]

    def _numbers(
        self, eqn: JaxprEqn, name: str, operands: tuple[Atom, ...], region: _Region
    ) -> tuple[list[Node], tuple[Atom, ...]]:
        """The casts that a product of two types does by itself, and its operands behind them."""
        infos = [_atom_info(atom, region.infos) for atom in operands]
        if name != "dot_general" or infos[0].dtype == infos[1].dtype or _info(eqn.outvars[0]).dtype != _FLOAT32:
            return [], operands
        casts: list[Node] = []
        numbers = list(operands)
        for i, info in enumerate(infos):
            if info.dtype == _FLOAT32:
                continue
            numbers[i] = result = next(self._ids)
            region.infos[result] = dataclasses.replace(info, dtype=_FLOAT32, direct=False)
            casts.append(
                Node(
                    op=_CAST,
                    attributes={PRIMITIVE: _CAST},
                    run=lambda x: [jnp.asarray(x, _FLOAT32)],
                    inputs=(operands[i],),
                    outputs=(result,),
                    owner=region.owners.current,
                    source=source_line(eqn) if region.source is None else region.source,
                )
            )
        return casts, tuple(numbers)

    def _inline(self, eqn: JaxprEqn, what: Operation, operands: tuple[Atom, ...], region: _Region) -> bool:
        call = inlined(what, operands) if what.name == CALL else None
        if call is None:
            return False
        closed = call.closed
        env: dict[Var, Atom] = dict(zip(inputs(closed), operands, strict=True))
        env.update((v, _constant(value, v)) for v, value in constants(closed))
        source = source_line(eqn) if call.is_library and region.source is None else region.source
        inner = dataclasses.replace(region, env=env, one_source=call.one_source or region.one_source, source=source)
        self._walk(closed, inner)
        for var, result in zip(eqn.outvars, outputs(closed), strict=True):
            region.env[var] = inner.read(result)
        return True

    def _scan(self, what: Operation, operands: tuple[Atom, ...], region: _Region, common: dict[str, Any]) -> Node:
        closed: ClosedJaxpr = what.params["jaxpr"]
        fixed, carried = what.params["consts"], what.params["carry"]
        scan = (next(self._serials), int(what.params["length"]))
        body_infos = []
        for i, (atom, var) in enumerate(zip(operands, inputs(closed), strict=True)):
            outer, own = _atom_info(atom, region.infos), _info(var)
            if i < fixed:
                body_infos.append(outer)
            elif i < fixed + carried:
                body_infos.append(own)
            else:
                stack = (*outer.stack, scan)
                body_infos.append(ValueInfo(own.shape, own.dtype, outer.parameter, outer.direct, stack))
        body = self._graph(closed, body_infos, region.owners)
        return Node(op=SCAN, attributes={**what.params, SCAN_ID: scan}, body=body, **common)

    def _hidden_layers(self, eqn: JaxprEqn, inside: Operation, owner: Owner) -> list[Node]:
        """Notes of the layers inside an equation that runs as it is (``cond``, ``while``, user-defined derivatives)."""
        notes = []
        for inner in inside.jaxprs:
            for sub in equations(inner):
                if sub.primitive is layer_p:
                    self.modules[sub.params["info"].path] = None
                    notes.append(_lost(eqn, sub, f"inside {operation(eqn).name}: runs as float", owner))
                else:
                    notes.extend(self._hidden_layers(eqn, operation(sub), owner))
        return notes


def _lost(eqn: JaxprEqn, marker: JaxprEqn, reason: str, owner: Owner) -> Node:
    layer = marker.params["info"]
    return Node(op=LOST, inputs=(), outputs=(), layer=layer, owner=owner, source=source_line(eqn), reason=reason)


def _fold(eqn: JaxprEqn, operands: tuple[Atom, ...], region: _Region) -> bool:
    """A cast of a literal is a literal."""
    (operand, *_) = operands or (None,)
    if eqn.primitive.name != _CAST or not isinstance(operand, Constant) or operand.shape != ():
        return False
    if is_tracer(operand.value):
        return False
    (var,) = eqn.outvars
    region.env[var] = _constant(np.asarray(operand.value).astype(_info(var).dtype), var)
    return True


def _result_info(eqn: JaxprEqn, var: Var, operands: tuple[Atom, ...], infos: Mapping[ValueId, ValueInfo]) -> ValueInfo:
    result = _info(var)
    move = MOVE_OF_PRIMITIVE.get(eqn.primitive.name)
    is_view = move is not None and move.view in (ParameterView.moved, ParameterView.cast)
    if not is_view or not operands or isinstance(operands[0], Constant):
        return result
    source = infos[operands[0]]
    unchanged = source.shape == result.shape and source.dtype == result.dtype and eqn.primitive.name != "transpose"
    return dataclasses.replace(
        result, parameter=source.parameter, direct=source.direct and unchanged, stack=source.stack
    )


def flatten(closed: ClosedJaxpr, variables: Sequence[Path]) -> tuple[Graph, tuple[Path, ...]]:
    """Raw graph of a staged jaxpr and the path of every module met.

    Args:
      closed: the jaxpr.
      variables: names of its leading inputs; the parameters are followed from there.
    """
    infos = [
        dataclasses.replace(_info(var), parameter=path, direct=path is not None)
        for var, path in itertools.zip_longest(inputs(closed), variables)
    ]
    flattener = Flattener()
    graph = flattener.flatten(closed, infos)
    return graph, tuple(flattener.modules)
