"""Equations of a jaxpr, described alike for every release: names, parameters, the place in the user's code."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, DebugInfo, Jaxpr, JaxprEqn, Var

from linger_jax.compat.jaxprs import as_function, closed_jaxpr, function_name, jaxprs_in

CALL = "jit"
"""A nested function: parameters ``jaxpr`` and ``name``."""
REMAT = "remat"
"""``jax.checkpoint``: parameters ``jaxpr``, ``policy``, ``prevent_cse`` (a flag, or one for each operand)."""
SCAN = "scan"
"""Parameters ``jaxpr``, ``consts`` and ``carry`` (how many operands are which; the rest are sliced), ``length``,
``reverse``, ``unroll``."""
CUSTOM_JVP = "custom_jvp_call"
"""A function with a derivative of its own: parameters ``jaxpr`` and ``function``, its name."""
CUSTOM_VJP = "custom_vjp_call"
"""As ``CUSTOM_JVP``, for reverse differentiation."""
CHECKPOINT_NAME = "name"
"""``jax.ad_checkpoint.checkpoint_name``: its operand."""

_NAMES = {
    **dict.fromkeys(("jit", "pjit", "closed_call", "core_call", "eval_jaxpr"), CALL),
    **dict.fromkeys(("remat", "remat2", "checkpoint"), REMAT),
}
# Classes behind the one primitive that stands for calls with rules of their own in newer releases.
_HIGH_LEVEL = "call_hi_primitive"
_HIGH_LEVEL_NAMES = {
    "RematTraced": REMAT,
    "CustomJVPTraced": CUSTOM_JVP,
    "CustomVJPTraced": CUSTOM_VJP,
    "CheckpointName": CHECKPOINT_NAME,
}


@dataclasses.dataclass(frozen=True, eq=False)
class Operation:
    """What an equation does.

    Attributes:
      name: of the primitive; one of the constants above where releases write the same thing differently.
      params: its parameters; for the constants above those named there (and what else this release has).
    """

    name: str
    params: Mapping[str, Any]

    @functools.cached_property
    def jaxprs(self) -> tuple[ClosedJaxpr, ...]:
        """The functions that it calls."""
        return tuple(jaxpr for value in self.params.values() for jaxpr in jaxprs_in(value))


def operation(eqn: JaxprEqn) -> Operation:
    """Describes an equation."""
    name, params = eqn.primitive.name, eqn.params
    if name == _HIGH_LEVEL:
        return _high_level(params["_prim"])
    name = _NAMES.get(name, name)
    if name == CALL:
        closed = closed_jaxpr(params["jaxpr"] if "jaxpr" in params else params["call_jaxpr"])
        return Operation(name, {"jaxpr": closed, "name": params.get("name") or function_name(closed)})
    if name in (CUSTOM_JVP, CUSTOM_VJP):
        closed = closed_jaxpr(params["call_jaxpr"])
        return Operation(name, {"jaxpr": closed, "function": function_name(closed)})
    if name == REMAT:
        return Operation(name, {**params, "jaxpr": closed_jaxpr(params["jaxpr"])})
    if name == SCAN:
        return Operation(name, _scan(params))
    return Operation(name, params)


def _scan(params: Mapping[str, Any]) -> dict[str, Any]:
    names = ("jaxpr", "length", "reverse", "unroll")
    kept = {name: params[name] for name in names}
    if "num_consts" in params:
        return {**kept, "consts": params["num_consts"], "carry": params["num_carry"]}
    # From 0.11 on the operands are a flat tree of three parts.
    consts, carry, _ = params["ft_in"].unpack()
    return {**kept, "consts": len(consts), "carry": len(carry)}


def _high_level(primitive: Any) -> Operation:
    """A call that is an object with rules of its own; one that is not known is what it expands to."""
    name = _HIGH_LEVEL_NAMES.get(type(primitive).__name__)
    if name == REMAT:
        params = {"policy": primitive.policy, "prevent_cse": getattr(primitive, "prevent_cse", True)}
        return Operation(name, {"jaxpr": closed_jaxpr(primitive.jaxpr), **params})
    if name in (CUSTOM_JVP, CUSTOM_VJP):
        return Operation(name, {"jaxpr": closed_jaxpr(primitive.traced.jaxpr), "function": primitive.traced.fun_name})
    if name == CHECKPOINT_NAME:
        return Operation(name, primitive.params)

    @functools.wraps(primitive.expand)
    def expanded(*flat: Any) -> list[Any]:
        return jax.tree.leaves(primitive.expand(*jax.tree.unflatten(primitive.in_tree, flat)))

    closed = jax.make_jaxpr(expanded)(*primitive.in_avals_flat)
    return Operation(CALL, {"jaxpr": closed, "name": type(primitive).__name__})


def source_frames(eqn: JaxprEqn) -> Iterator[tuple[str, int]]:
    """File and line of the Python calls that made an equation, innermost first."""
    traceback = eqn.source_info.traceback
    frames: list[Any] = [] if traceback is None else traceback.frames
    for frame in frames:
        yield frame.file_name, frame.line_num


def one_equation(eqn: JaxprEqn) -> Callable[..., list[Any]]:
    """A function of all operands of an equation that evaluates it in its own context.

    Literals are operands too, and one that stands twice is two: a rule may hand in other values than the trace had.
    """
    invars: list[Any] = [Var(v.aval) for v in eqn.invars]
    names = DebugInfo("one equation", eqn.primitive.name, ("",) * len(invars), ("",) * len(eqn.outvars))
    jaxpr = Jaxpr((), invars, list(eqn.outvars), [eqn.replace(invars=invars)], eqn.effects, names)
    return as_function(closed_jaxpr(jaxpr))


def with_parameters(eqn: JaxprEqn, **changed: Any) -> JaxprEqn:
    """The equation with some of its primitive's parameters changed."""
    return eqn.replace(params={**eqn.params, **changed})


def bind_again(eqn: JaxprEqn, *operands: Any) -> list[Any]:
    """Evaluates the primitive of an equation on operands of other types than the trace had.

    In the context of the caller, not in the equation's.
    """
    bind_params = eqn.primitive.get_bind_params(eqn.params)
    results = eqn.primitive.bind(*operands, **bind_params)
    return list(results) if eqn.primitive.multiple_results else [results]
