"""Tracing a model once, layers as markers."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax

from linger_jax.compat import ClosedJaxpr, equations, operation
from linger_jax.quantizers import QTensor
from linger_jax.staging.call_arguments import DYNAMIC, Call
from linger_jax.staging.folded_norms import NOTHING_FOLDED, FoldedNorms
from linger_jax.staging.linen_interceptor import entry_path, marking
from linger_jax.staging.marker import layer_p, scope_p
from linger_jax.staging.real_inputs import narrowed
from linger_jax.typing import Path


@dataclasses.dataclass(frozen=True, eq=False)
class Staged:
    """A traced model.

    Attributes:
      jaxpr: the model's jaxpr; inputs are the variables' leaves followed by the call's arrays.
      variables: path (collection first) of each leading input.
      arguments: name of each remaining input, as a user would write it (``args[0]``, ``kwargs['mask']``).
      out_tree: structure of ``(model output, updated collections)``.
    """

    jaxpr: ClosedJaxpr
    variables: tuple[Path, ...]
    arguments: tuple[str, ...]
    out_tree: Any


def variable_paths(variables: Any) -> tuple[Path, ...]:
    """Dotted-path parts of every leaf of a variable tree, in leaf order."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(variables)
    return tuple(entry_path(path) for path, _ in leaves)


def _argument_names(call: Call) -> tuple[str, ...]:
    tree = jax.tree.unflatten(call.treedef, list(call.static))
    named, _ = jax.tree_util.tree_flatten_with_path(tree)
    names = []
    for path, leaf in named:
        if leaf is DYNAMIC:
            head = ("args", "kwargs", "rngs")[path[0].idx]
            names.append(head + jax.tree_util.keystr(path[1:]))
    return tuple(names)


def stage(
    model: nn.Module, variables: Any, call: Call, arrays: list[Any], folded: FoldedNorms = NOTHING_FOLDED
) -> Staged:
    """Traces ``model`` with its layers as markers. Arrays may be ``jax.ShapeDtypeStruct``.

    Args:
      model: a Linen module, unbound.
      variables: the float model's collections (no quantizer state).
      call: static half of the call.
      arrays: the call's arrays; a ``QTensor`` stands for its value. The model gets float64 as float32.
      folded: normalizations whose numbers the variables hold inside the convolution before them.
    """
    leaves, treedef = jax.tree.flatten(variables)
    values = [a.value if isinstance(a, QTensor) else a for a in arrays]

    def trace(*, reuse_traces: bool) -> tuple[ClosedJaxpr, Any, set[int]]:
        visits: set[int] = set()

        def run(leaves: list[Any], arrays: list[Any]) -> Any:
            args, kwargs, rngs = call.merge([narrowed(a) for a in arrays])
            with marking(reuse_traces=reuse_traces, folded=folded) as interceptor:
                result = model.apply(
                    jax.tree.unflatten(treedef, leaves),
                    *args,
                    rngs=rngs,
                    method=call.method,
                    mutable=call.model_mutable(),
                    **kwargs,
                )
            visits.update(interceptor.visits)
            return result

        closed, shapes = jax.make_jaxpr(run, return_shape=True)(leaves, values)
        return closed, shapes, visits

    closed, shapes, visits = trace(reuse_traces=True)
    if not _each_visit_once(closed, visits):
        # An nn.jit inside the model answered with the trace of an earlier call: its markers name another module.
        closed, shapes, _ = trace(reuse_traces=False)
    return Staged(closed, variable_paths(variables), _argument_names(call), jax.tree.structure(shapes))


def _each_visit_once(closed: ClosedJaxpr, visits: set[int]) -> bool:
    found = Counter(_visits(closed))
    return found.keys() <= visits and all(count == 1 for count in found.values())


def _visits(closed: ClosedJaxpr) -> Iterator[int]:
    for eqn in equations(closed):
        if eqn.primitive is layer_p:
            yield eqn.params["info"].visit
        elif eqn.primitive is scope_p:
            if eqn.params["enter"]:
                yield eqn.params["visit"]
        else:
            for inner in operation(eqn).jaxprs:
                yield from _visits(inner)
