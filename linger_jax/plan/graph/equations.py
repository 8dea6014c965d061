"""Single equations of a jaxpr: where they were written, and running one by itself."""

from __future__ import annotations

import importlib.resources
import os
from collections.abc import Callable
from typing import Any

import flax
import jax
from jax.extend.core import ClosedJaxpr, DebugInfo, Jaxpr, JaxprEqn, Var, jaxpr_as_fun


def _folder(file: str) -> str:
    return os.path.dirname(os.path.abspath(file)) + os.sep


_JAX_FOLDER = _folder(jax.__file__)
_OWN_FOLDER = f"{importlib.resources.files('linger_jax')}{os.sep}"
_FOLDERS_OF_LIBRARIES = (_JAX_FOLDER, _folder(flax.__file__), _OWN_FOLDER)


def source_line(eqn: JaxprEqn) -> str:
    """``file:line`` of the user's code that made an equation, or an empty string."""
    traceback = eqn.source_info.traceback
    frames: list[Any] = traceback.frames if traceback is not None else []
    for frame in frames:
        name = os.path.normpath(frame.file_name)
        if not name.startswith(("<", *_FOLDERS_OF_LIBRARIES)):
            return f"{os.path.basename(name)}:{frame.line_num}"
    return ""


def is_library_call(closed: ClosedJaxpr) -> bool:
    """Whether a nested function was written inside JAX itself, not by the user."""
    return str(closed.jaxpr.debug_info.func_filename).startswith(_JAX_FOLDER)


def one_equation(eqn: JaxprEqn) -> Callable[..., list[Any]]:
    """A function of all operands of an equation that evaluates it in its own context.

    Literals are operands too, and one that stands twice is two: a rule may hand in other values than the trace had.
    """
    invars: list[Any] = [Var(v.aval) for v in eqn.invars]
    names = DebugInfo("one equation", eqn.primitive.name, ("",) * len(invars), ("",) * len(eqn.outvars))
    jaxpr = Jaxpr((), invars, list(eqn.outvars), [eqn.replace(invars=invars)], eqn.effects, names)
    return jaxpr_as_fun(ClosedJaxpr(jaxpr, ()))
