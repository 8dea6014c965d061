"""From a staged jaxpr to a raw graph: nested jits inlined, scopes resolved into owners, control flow as bodies."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, DebugInfo, Jaxpr, JaxprEqn, Literal, Var, jaxpr_as_fun, jaxprs_in_params

from linger_jax.plan.graph import Atom, Constant, Graph, Node, Owner, ValueId, ValueInfo
from linger_jax.plan.primitives import FLOAT_PRESERVING, INLINED_LIBRARY_CALLS, PROVENANCE
from linger_jax.staging.marker import Path, layer_p, lost_p, scope_p

_JAX_FOLDER = os.path.dirname(jax.__file__) + os.sep
_QUIET_FOLDERS = (_JAX_FOLDER, os.path.join(os.path.dirname(jax.__file__), os.pardir, "flax") + os.sep)
_OWN_FOLDER = os.path.dirname(os.path.dirname(__file__)) + os.sep


def source_line(eqn: JaxprEqn) -> str:
    """``file:line`` of the user's code that made an equation, or an empty string."""
    traceback = eqn.source_info.traceback
    frames: list[Any] = traceback.frames if traceback is not None else []
    for frame in frames:
        name = os.path.normpath(frame.file_name)
        inside = any(name.startswith(os.path.normpath(folder) + os.sep) for folder in _QUIET_FOLDERS)
        if not inside and not name.startswith(_OWN_FOLDER) and not name.startswith("<"):
            return f"{os.path.basename(name)}:{frame.line_num}"
    return ""


def one_equation(eqn: JaxprEqn) -> Any:
    """A function that evaluates one equation, in its own context, on its non-literal operands."""
    invars = list(dict.fromkeys(v for v in eqn.invars if not isinstance(v, Literal)))
    names = DebugInfo("one equation", eqn.primitive.name, ("",) * len(invars), ("",) * len(eqn.outvars))
    jaxpr = Jaxpr((), invars, list(eqn.outvars), [eqn], eqn.effects, names)
    positions = [None if isinstance(v, Literal) else invars.index(v) for v in eqn.invars]
    function = jaxpr_as_fun(ClosedJaxpr(jaxpr, ()))

    def run(*operands: Any) -> list[Any]:
        chosen: dict[int, Any] = {}
        for position, operand in zip(positions, operands, strict=True):
            if position is not None:
                chosen.setdefault(position, operand)
        return list(function(*(chosen[i] for i in range(len(invars)))))

    return run


def _info(var: Any) -> ValueInfo:
    return ValueInfo(tuple(var.aval.shape), var.aval.dtype)


def _constant(value: Any, var: Any) -> Constant:
    return Constant(value, tuple(np.shape(value)), var.aval.dtype)


def is_library_call(closed: ClosedJaxpr) -> bool:
    """Whether a nested jit was written inside JAX itself, not by the user."""
    return str(closed.jaxpr.debug_info.func_filename).startswith(_JAX_FOLDER)


class Flattener:
    """Builds raw graphs; value ids are unique over all regions of one plan."""

    def __init__(self) -> None:
        self._ids = itertools.count()
        self._serials = itertools.count()
        self.root = Owner((), next(self._serials))

    def region(
        self,
        jaxpr: Jaxpr,
        consts: Sequence[Any],
        input_infos: Sequence[ValueInfo] | None,
        owners: list[Owner],
    ) -> Graph:
        """Flattens one jaxpr; ``owners`` is the stack of module activations around it."""
        infos: dict[ValueId, ValueInfo] = {}
        env: dict[Var, Atom] = {}
        inputs = []
        for i, var in enumerate(jaxpr.invars):
            info = input_infos[i] if input_infos else _info(var)
            inputs.append(self._define(env, infos, var, info))
        for var, value in zip(jaxpr.constvars, consts, strict=True):
            env[var] = _constant(value, var)
        nodes: list[Node] = []
        self._walk(jaxpr, env, infos, nodes, list(owners))
        outputs = tuple(self._read(env, v) for v in jaxpr.outvars)
        return Graph(tuple(inputs), tuple(nodes), outputs, infos)

    def _define(self, env: dict[Var, Atom], infos: dict[ValueId, ValueInfo], var: Var, info: ValueInfo) -> ValueId:
        value_id = next(self._ids)
        env[var] = value_id
        infos[value_id] = info
        return value_id

    @staticmethod
    def _read(env: Mapping[Var, Atom], var: Any) -> Atom:
        if isinstance(var, Literal):
            return _constant(var.val, var)
        return env[var]

    def _walk(
        self,
        jaxpr: Jaxpr,
        env: dict[Var, Atom],
        infos: dict[ValueId, ValueInfo],
        nodes: list[Node],
        owners: list[Owner],
    ) -> None:
        for eqn in jaxpr.eqns:
            if eqn.primitive is scope_p:
                self._scope(eqn, owners)
                continue
            inputs = tuple(self._read(env, v) for v in eqn.invars)
            name = eqn.primitive.name
            if name in ("jit", "pjit", "closed_call") and self._inlines(eqn):
                inner = eqn.params.get("jaxpr") or eqn.params["call_jaxpr"]
                self._inline(inner, inputs, eqn, env, infos, nodes, owners)
                continue
            common: dict[str, Any] = {
                "inputs": inputs,
                "owner": owners[-1],
                "source": source_line(eqn),
            }
            if eqn.primitive is lost_p:
                info = eqn.params["info"]
                reason = f"inside {eqn.params['transformation']}: runs as float"
                nodes.append(Node(op="lost", layer=info, outputs=(), reason=reason, **common))
                continue
            common["outputs"] = tuple(
                self._define(env, infos, var, self._result_info(eqn, var, inputs, infos)) for var in eqn.outvars
            )
            if eqn.primitive is layer_p:
                info, inner = eqn.params["info"], eqn.params["jaxpr"]
                nodes.append(Node(op=info.kind, layer=info, jaxpr=inner, run=jaxpr_as_fun(inner), **common))
            elif name in ("remat2", "checkpoint", "remat"):
                body_infos = [self._atom_info(a, infos) for a in inputs]
                body = self.region(eqn.params["jaxpr"], (), body_infos, owners)
                nodes.append(Node(op="remat", attributes=eqn.params, body=body, **common))
            elif name == "scan":
                nodes.append(self._scan(eqn, inputs, infos, owners, common))
            else:
                nodes.extend(_lost_layers(eqn, common))
                attributes = {**eqn.params, "primitive": name}
                nodes.append(Node(op=name, attributes=attributes, run=one_equation(eqn), **common))

    def _scope(self, eqn: JaxprEqn, owners: list[Owner]) -> None:
        path: Path = eqn.params["path"]
        if not eqn.params["enter"]:
            owners.pop()
            return
        around = next((o for o in reversed(owners) if o.path == path and o.module_types), None)
        composite = eqn.params["composite"] or owners[-1].composite
        if around is not None and composite == around.composite:
            owners.append(around)
            return
        if path == () and owners[-1] is self.root:
            owners.append(Owner((), self.root.serial, (eqn.params["module_type"],), composite))
            return
        types = (eqn.params["module_type"], *owners[-1].module_types)
        owners.append(Owner(path, next(self._serials), types, composite))

    def _inlines(self, eqn: JaxprEqn) -> bool:
        closed = eqn.params.get("jaxpr") or eqn.params["call_jaxpr"]
        if not isinstance(closed, ClosedJaxpr):
            return False
        if not is_library_call(closed) or eqn.params.get("name") in INLINED_LIBRARY_CALLS:
            return True
        return _only_moves_values(closed.jaxpr)

    def _inline(
        self,
        closed: ClosedJaxpr,
        inputs: tuple[Atom, ...],
        eqn: JaxprEqn,
        env: dict[Var, Atom],
        infos: dict[ValueId, ValueInfo],
        nodes: list[Node],
        owners: list[Owner],
    ) -> None:
        inner: dict[Var, Atom] = dict(zip(closed.jaxpr.invars, inputs, strict=True))
        for var, value in zip(closed.jaxpr.constvars, closed.consts, strict=True):
            inner[var] = _constant(value, var)
        self._walk(closed.jaxpr, inner, infos, nodes, owners)
        for var, result in zip(eqn.outvars, closed.jaxpr.outvars, strict=True):
            env[var] = self._read(inner, result)

    def _scan(
        self,
        eqn: JaxprEqn,
        inputs: tuple[Atom, ...],
        infos: Mapping[ValueId, ValueInfo],
        owners: list[Owner],
        common: dict[str, Any],
    ) -> Node:
        closed: ClosedJaxpr = eqn.params["jaxpr"]
        fixed = eqn.params["num_consts"]
        carried = eqn.params["num_carry"]
        scan = (next(self._serials), int(eqn.params["length"]))
        body_infos = []
        for i, (atom, var) in enumerate(zip(inputs, closed.jaxpr.invars, strict=True)):
            outer = self._atom_info(atom, infos)
            shape, dtype = _info(var).shape, _info(var).dtype
            if i < fixed:
                body_infos.append(outer)
            elif i < fixed + carried:
                body_infos.append(ValueInfo(shape, dtype))
            else:
                body_infos.append(ValueInfo(shape, dtype, outer.parameter, outer.direct, (*outer.stack, scan)))
        body = self.region(closed.jaxpr, closed.consts, body_infos, owners)
        attributes = {**eqn.params, "scan": scan}
        return Node(op="scan", attributes=attributes, body=body, run=one_equation(eqn), **common)

    @staticmethod
    def _atom_info(atom: Atom, infos: Mapping[ValueId, ValueInfo]) -> ValueInfo:
        return ValueInfo(atom.shape, atom.dtype) if isinstance(atom, Constant) else infos[atom]

    def _result_info(
        self, eqn: JaxprEqn, var: Var, inputs: tuple[Atom, ...], infos: Mapping[ValueId, ValueInfo]
    ) -> ValueInfo:
        result = _info(var)
        shape, dtype = result.shape, result.dtype
        if eqn.primitive.name in PROVENANCE and inputs and not isinstance(inputs[0], Constant):
            source = infos[inputs[0]]
            unchanged = source.shape == shape and source.dtype == dtype and eqn.primitive.name != "transpose"
            return ValueInfo(shape, dtype, source.parameter, source.direct and unchanged, source.stack)
        return result


def _lost_layers(eqn: JaxprEqn, common: Mapping[str, Any]) -> list[Node]:
    """One note for each layer inside an equation that runs as it is (``cond``, ``while``, user-defined derivatives)."""
    lost = []
    for inner in jaxprs_in_params(eqn.params):
        for sub in inner.eqns:
            if sub.primitive is layer_p:
                reason = f"inside {eqn.primitive.name}: runs as float"
                lost.append(
                    Node(
                        op="lost",
                        inputs=(),
                        outputs=(),
                        layer=sub.params["info"],
                        owner=common["owner"],
                        source=common["source"],
                        reason=reason,
                    )
                )
            else:
                lost.extend(_lost_layers(sub, common))
    return lost


def _only_moves_values(jaxpr: Jaxpr) -> bool:
    """Whether every float a library function returns is an unchanged float of its operands."""
    for eqn in jaxpr.eqns:
        inner = eqn.params.get("jaxpr")
        if eqn.primitive.name == "jit" and isinstance(inner, ClosedJaxpr):
            if not _only_moves_values(inner.jaxpr):
                return False
        elif eqn.primitive.name not in FLOAT_PRESERVING and any(
            np.issubdtype(_info(v).dtype, np.inexact) for v in eqn.outvars
        ):
            return False
    return True


def flatten(closed: ClosedJaxpr, variables: Sequence[Path], flattener: Flattener | None = None) -> Graph:
    """Raw graph of a staged jaxpr; ``variables`` names its leading inputs, the parameters are followed from there."""
    flattener = flattener or Flattener()
    infos = []
    for i, var in enumerate(closed.jaxpr.invars):
        path = variables[i] if i < len(variables) else None
        infos.append(dataclasses.replace(_info(var), parameter=path, direct=path is not None))
    return flattener.region(closed.jaxpr, closed.consts, infos, [flattener.root])
