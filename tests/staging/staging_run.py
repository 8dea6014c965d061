"""Staging a call in a test, and reading what came out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax

from linger_jax import compat
from linger_jax.compat import ClosedJaxpr, JaxprEqn, as_function, operation
from linger_jax.staging import LayerInfo, Staged, layer_p, scope_p, split_call, stage


def staged_call(
    model: Any, variables: Any, *args: Any, rngs: Any = None, method: Any = None, mutable: Any = (), **kwargs: Any
) -> tuple[Staged, list[Any]]:
    """The staged call and the arrays its jaxpr takes after the variables."""
    call, arrays = split_call(args, kwargs, rngs, method, mutable)
    return stage(model, variables, call, arrays), arrays


def run_staged(staged: Staged, variables: Any, arrays: list[Any]) -> Any:
    """``(model output, updated collections)`` from the jaxpr alone, equation by equation."""
    outputs = as_function(staged.jaxpr)(*jax.tree.leaves(variables), *arrays)
    return jax.tree.unflatten(staged.out_tree, outputs)


def equations(closed: ClosedJaxpr) -> Iterator[JaxprEqn]:
    """Every equation in order, those of inner jaxprs after the equation that holds them; layers stay closed."""
    for eqn in compat.equations(closed):
        yield eqn
        if eqn.primitive is not layer_p:
            for inner in operation(eqn).jaxprs:
                yield from equations(inner)


def layers(staged: Staged) -> list[LayerInfo]:
    """The layer markers in order."""
    return [e.params["info"] for e in equations(staged.jaxpr) if e.primitive is layer_p]


def layer_names(staged: Staged) -> list[str]:
    """``kind:path`` of every layer marker in order."""
    return [repr(info) for info in layers(staged)]


def scopes(staged: Staged) -> list[str]:
    """``path`` or ``path.method`` of every scope that opens, in order."""
    opened = [e.params for e in equations(staged.jaxpr) if e.primitive is scope_p and e.params["enter"]]
    return [".".join(p["path"] if p["method"] == "__call__" else (*p["path"], p["method"])) for p in opened]
