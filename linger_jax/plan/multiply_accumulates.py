"""How many multiply-accumulates a call needs, and which of them run on integers: what a coverage table weighs.

Counted are matrix products and convolutions, by their shapes; a loop counts its body as often as it runs. Products of
parameters alone are constants of the deployed model and do not count, nor do elementwise products.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

from linger_jax.compat import SCAN, ClosedJaxpr, JaxprEqn, equations, jaxprs_in, operation
from linger_jax.plan.graph import Constant, Graph, Node
from linger_jax.typing import Shape


@dataclasses.dataclass(frozen=True)
class MultiplyAccumulates:
    """Multiply-accumulates of one call.

    Attributes:
      total: all of them.
      quantized: those of quantized (or constrained) layers and operators.
    """

    total: int
    quantized: int

    @property
    def share(self) -> float:
        """The quantized part, 0 to 1; 1 where there is nothing to multiply."""
        return self.quantized / self.total if self.total else 1.0

    def __str__(self) -> str:
        return f"{self.quantized:,} of {self.total:,} multiply-accumulates quantized ({100 * self.share:.1f} %)"


def multiply_accumulates(graph: Graph) -> MultiplyAccumulates:
    """Counts a decided graph."""
    counted = list(_count(graph, 1))
    return MultiplyAccumulates(sum(n for _, n in counted), sum(n for node, n in counted if node.quantized))


def _count(graph: Graph, times: int) -> Iterator[tuple[Node, int]]:
    for node in graph.nodes:
        if node.body is not None:
            yield from _count(node.body, times * (node.attributes["length"] if node.op == SCAN else 1))
        elif node.layer is not None:
            yield node, times * (_of_jaxpr(node.jaxpr) if node.jaxpr is not None else 0)
        elif node.op in ("dot_general", "conv_general_dilated"):
            left, right = (a.shape if isinstance(a, Constant) else graph.infos[a].shape for a in node.inputs[:2])
            yield node, times * _of_product(node.op, node.attributes, left, right, graph.infos[node.outputs[0]].shape)
        elif node.run is not None:
            yield (
                node,
                times * sum(_of_jaxpr(inner) for value in node.attributes.values() for inner in jaxprs_in(value)),
            )


def _of_jaxpr(closed: ClosedJaxpr) -> int:
    return sum(_of_equation(eqn) for eqn in equations(closed))


def _of_equation(eqn: JaxprEqn) -> int:
    what = operation(eqn)
    name = what.name
    if name in ("dot_general", "conv_general_dilated"):
        operands: list[Any] = [*eqn.invars[:2], *eqn.outvars]
        return _of_product(name, eqn.params, *(tuple(v.aval.shape) for v in operands))
    inside = [_of_jaxpr(inner) for inner in what.jaxprs]
    if name == "cond":
        return max(inside, default=0)
    # How often a ``while`` runs is not known: it counts once.
    return sum(inside) * (int(what.params["length"]) if name == SCAN else 1)


def _of_product(name: str, parameters: Any, left: Shape, right: Shape, result: Shape) -> int:
    if name == "dot_general":
        (contracted, _), _ = parameters["dimension_numbers"]
        return math.prod(result) * math.prod(left[axis] for axis in contracted)
    output_features = right[parameters["dimension_numbers"].rhs_spec[0]]
    return math.prod(result) * (math.prod(right) // max(output_features, 1))
