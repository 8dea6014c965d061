"""Library functions that JAX inlines into plain equations are found by unifying with a fresh trace of them.

A template is traced with the installed JAX at the candidate's own shape and matched backwards from its last equation,
so the table never goes stale with a JAX release; inner values of a match must not be read outside it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from linger_jax.compat import ClosedJaxpr, evaluated_now
from linger_jax.kinds import GELU, SOFTMAX, OperatorKind
from linger_jax.plan.graph import PRIMITIVE, Atom, Constant, Graph, Node, Uses, ValueId
from linger_jax.plan.recognize.flatten import flatten


@dataclasses.dataclass(frozen=True)
class Template:
    """A one-operand library function.

    Attributes:
      kind: what the matched node is.
      last: primitive of its last equation, the cue to try it.
      variants: functions of one array to trace, with the attributes each stands for; made from the operand's rank.
    """

    kind: OperatorKind
    last: str
    variants: Callable[[int], Sequence[tuple[Callable[[Any], Any], dict[str, Any]]]]


def _gelu(rank: int) -> Sequence[tuple[Callable[[Any], Any], dict[str, Any]]]:
    del rank
    return [
        (functools.partial(jax.nn.gelu, approximate=approximate), {"approximate": approximate})
        for approximate in (True, False)
    ]


def _softmax(rank: int) -> Sequence[tuple[Callable[[Any], Any], dict[str, Any]]]:
    return [(functools.partial(jax.nn.softmax, axis=axis), {"axis": axis}) for axis in reversed(range(rank))]


TEMPLATES = (
    Template(GELU, "mul", _gelu),
    Template(GELU, "copy", _gelu),
    Template(SOFTMAX, "div", _softmax),
)


@functools.lru_cache(maxsize=256)
def _traced(template: Template, shape: tuple[int, ...], dtype: np.dtype[Any]) -> list[tuple[Graph, dict[str, Any]]]:
    operand = jax.ShapeDtypeStruct(shape, dtype)
    with evaluated_now():
        return [
            (flatten(jax.make_jaxpr(function)(operand), ())[0], attributes)
            for function, attributes in template.variants(len(shape))
        ]


def match_template(
    uses: Uses, nodes: list[Node], index: int, templates: Sequence[Template]
) -> tuple[Node, frozenset[int]] | None:
    """The operator that node ``index`` completes, and the nodes it replaces."""
    last = nodes[index]
    if len(last.outputs) != 1:
        return None
    info = uses.infos[last.outputs[0]]
    for template in templates:
        if template.last != last.op or info.dtype != np.float32:
            continue
        for pattern, attributes in _traced(template, info.shape, np.dtype(info.dtype)):
            if pattern.nodes[-1].op != last.op:
                continue
            found = _unify(uses, nodes, index, pattern)
            if found is not None:
                operand, interior = found
                node = dataclasses.replace(
                    last,
                    op=template.kind.nodes[0],
                    inputs=(operand,),
                    attributes={**attributes, PRIMITIVE: template.kind.name},
                    run=_run_pattern(pattern),
                )
                return node, interior
    return None


def _run_pattern(pattern: Graph) -> Callable[..., list[Any]]:
    def run(operand: Any) -> list[Any]:
        env: dict[ValueId, Any] = {pattern.inputs[0]: operand}
        for node in pattern.nodes:
            assert node.run is not None
            operands = [a.value if isinstance(a, Constant) else env[a] for a in node.inputs]
            env.update(zip(node.outputs, node.run(*operands), strict=True))
        return [env[a] if not isinstance(a, Constant) else a.value for a in pattern.outputs]

    return run


def _unify(uses: Uses, nodes: list[Node], index: int, pattern: Graph) -> tuple[Atom, frozenset[int]] | None:
    makers = {value: node for node in pattern.nodes for value in node.outputs}
    bound: dict[ValueId, Atom] = {}
    interior: dict[int, None] = {}
    pending: list[tuple[Atom, Atom]] = [(pattern.outputs[0], nodes[index].outputs[0])]
    while pending:
        wanted, found = pending.pop()
        if isinstance(wanted, Constant) or isinstance(found, Constant):
            if not _same_constant(wanted, found):
                return None
            continue
        if wanted in bound:
            if bound[wanted] != found:
                return None
            continue
        bound[wanted] = found
        if wanted not in makers:
            continue
        step, maker = makers[wanted], uses.maker_of(found)
        if maker is None or not _same_step(step, nodes[maker]):
            return None
        interior[maker] = None
        pending.extend(zip(step.inputs, nodes[maker].inputs, strict=True))
    inside = frozenset(interior)
    for i in inside - {index}:
        readers_inside = sum(any(v in nodes[j].inputs for j in inside) for v in nodes[i].outputs)
        outside = sum(uses.readers[v] for v in nodes[i].outputs) - sum(
            v in set(nodes[j].inputs) for v in nodes[i].outputs for j in inside
        )
        if outside or not readers_inside:
            return None
    return bound[pattern.inputs[0]], inside


def _same_step(step: Node, candidate: Node) -> bool:
    if step.op != candidate.op or len(step.inputs) != len(candidate.inputs) or candidate.layer is not None:
        return False
    return all(
        key in candidate.attributes and _same_parameter(value, candidate.attributes[key])
        for key, value in step.attributes.items()
    )


def _same_parameter(one: Any, other: Any) -> bool:
    if callable(one) or isinstance(one, ClosedJaxpr):
        return str(one) == str(other) or getattr(one, "__name__", None) == getattr(other, "__name__", 0)
    return bool(np.all(one == other)) if isinstance(one, np.ndarray) else bool(one == other)


def _same_constant(one: Atom, other: Atom) -> bool:
    return (
        isinstance(one, Constant)
        and isinstance(other, Constant)
        and one.shape == other.shape
        and bool(np.all(np.asarray(one.value) == np.asarray(other.value)))
    )
