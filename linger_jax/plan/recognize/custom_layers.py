"""Finds the products of parameters outside known layers in a raw graph: they are layers of their own.

Such a product, with the views that lead to it and the parameter that is added to it, becomes one node that looks like a
layer to everything behind: it has operands by role and a float jaxpr, so the rules, clamps and limits of Dense and Conv
are its rules.

Source: docs/decisions.md D23.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from linger_jax.compat import as_function
from linger_jax.kinds import ADD, CUSTOM_CONV, CUSTOM_LINEAR, UNIT_AXES, LayerKind
from linger_jax.plan.graph import COMPUTED_FROM, Atom, Constant, Graph, Node, Owner, Uses, ValueId, ValueInfo
from linger_jax.plan.recognize.parameter_views import View, moved_axes, varying_axes, view_of
from linger_jax.staging import MOST_SPATIAL_AXES, LayerInfo
from linger_jax.typing import Path

KINDS: Mapping[str, LayerKind] = {"dot_general": CUSTOM_LINEAR, "conv_general_dilated": CUSTOM_CONV}
"""What a product is once one operand is a parameter."""
CONSTANT_PRODUCT = "constant_product"
"""Operator of a product of parameters alone: a constant of the deployed model, no layer."""
_NOT_STAGED = -1


def with_custom_layers(graph: Graph, taken: Iterable[Path]) -> tuple[Graph, tuple[Path, ...]]:
    """The graph with each parameter product as one layer node, and the paths of these layers.

    Args:
      graph: a recognised graph.
      taken: paths of modules and variables (without their collection), which a numbered name must not repeat.
    """
    names = _Names(frozenset(taken))
    return _region(graph, names), tuple(names.given)


class _Names:
    """Names of custom layers: the parameter's under its owner; a further product of it in one call gets a number."""

    def __init__(self, taken: frozenset[Path]) -> None:
        self.given: dict[Path, None] = {}
        self._taken = taken
        self._counts: Counter[tuple[int, Path]] = Counter()

    def next(self, owner: Owner, parameter: Path) -> Path:
        inside = parameter[1 : 1 + len(owner.path)] == owner.path and len(parameter) > 1 + len(owner.path)
        name = parameter[1 + len(owner.path) :] if inside else parameter[-1:]
        while True:
            number = self._counts[owner.serial, name]
            self._counts[owner.serial, name] += 1
            path = (*owner.path, *name[:-1], f"{name[-1]}_{number}" if number else name[-1])
            if not number or path not in self._taken:
                self.given[path] = None
                return path


@dataclasses.dataclass(frozen=True)
class _Product:
    """A product node and what belongs to it.

    Attributes:
      index: of the product.
      other, weight: its operands.
      behind: nodes between the product and the addition of the bias, the addition included; empty without a bias.
      bias: the view that is added.
    """

    index: int
    other: ValueId
    weight: View
    behind: tuple[int, ...] = ()
    bias: View | None = None


def _region(graph: Graph, names: _Names) -> Graph:
    nodes = list(graph.nodes)
    uses = Uses(graph, nodes)
    infos: dict[ValueId, ValueInfo] = dict(graph.infos)
    result: list[Node | None] = list(nodes)
    for index, node in enumerate(nodes):
        if node.body is not None:
            result[index] = dataclasses.replace(node, body=_region(node.body, names))
        elif node.op in KINDS:
            views = [view_of(uses, nodes, atom) for atom in node.inputs[:2]]
            product = _product(node, index, views)
            if product is not None:
                product = _with_bias(uses, nodes, product)
                weight = product.weight
                if weight.computed:
                    known = infos[weight.value]
                    infos[weight.value] = dataclasses.replace(known, parameter=weight.parameter, stack=weight.stack)
                for i in (index, *product.behind):
                    result[i] = None
                path = names.next(node.owner, weight.parameter)
                result[max((index, *product.behind))] = _layer_node(uses, nodes, product, path)
            elif all(_parameters_behind(uses, nodes, atom) is not None for atom in node.inputs[:2]):
                result[index] = dataclasses.replace(node, op=CONSTANT_PRODUCT)
            else:
                found = [_parameters_behind(uses, nodes, atom) for atom in node.inputs[:2]]
                sources = tuple(".".join(path) for paths in found if paths for path in paths)
                result[index] = dataclasses.replace(node, attributes={**node.attributes, COMPUTED_FROM: sources})
    return dataclasses.replace(graph, nodes=tuple(n for n in result if n is not None), infos=infos)


def _product(node: Node, index: int, views: Sequence[View | None]) -> _Product | None:
    """The weight is the operand that is a view of a parameter; of two, the one that no index of the call chose."""
    left, right = views
    if left is not None and right is not None:
        if left.indexed == right.indexed:
            return None
        left, right = (None, right) if left.indexed else (left, None)
    position = 0 if left is not None else 1
    weight, other = left or right, node.inputs[1 - position]
    if weight is None or isinstance(other, Constant):
        return None
    return _Product(index, other, weight)


def _parameters_behind(uses: Uses, nodes: list[Node], atom: Atom) -> tuple[Path, ...] | None:
    """The parameters that a value is computed from; None where it depends on anything else."""
    pending, seen, found = [atom], set[ValueId](), dict[Path, None]()
    while pending:
        atom = pending.pop()
        if isinstance(atom, Constant) or atom in seen:
            continue
        seen.add(atom)
        maker = uses.maker_of(atom)
        if maker is not None:
            pending.extend(nodes[maker].inputs)
            if nodes[maker].layer is not None:
                return None
            continue
        parameter = uses.infos[atom].parameter
        if parameter is None or parameter[0] != "params":
            return None
        found[parameter] = None
    return tuple(found)


# --- the bias ------------------------------------------------------------------------------------------------------


def _with_bias(uses: Uses, nodes: list[Node], product: _Product) -> _Product:
    """Adds the parameter that is added to the product: directly behind it, by the sole reader of its result.

    Between the two, the axes may be permuted, as an einsum does by itself. The parameter may differ along axes of the
    weight only: one that differs along axes of the input (an embedding of positions) is an operand of an addition.
    """
    node = nodes[product.index]
    value, axes = node.outputs[0], _weight_axes(uses, node, product)
    behind: list[int] = []
    while uses.readers[value] == 1:
        reader = next((i for i in range(product.index + 1, len(nodes)) if value in nodes[i].inputs), None)
        if reader is None or nodes[reader].owner.serial != node.owner.serial:
            break
        step = nodes[reader]
        shape = uses.infos[value].shape
        behind.append(reader)
        if step.kind == ADD:
            (added,) = (atom for atom in step.inputs if atom != value) if len(set(step.inputs)) == 2 else (None,)
            bias = None if added is None else view_of(uses, nodes, added)
            if bias is None or bias.computed or uses.infos[step.outputs[0]].shape != shape:
                break
            if not varying_axes(uses, nodes, bias) <= axes:
                break
            return dataclasses.replace(product, behind=tuple(behind), bias=bias)
        if step.op not in {"transpose", *UNIT_AXES}:
            break
        value = step.outputs[0]
        after = uses.infos[value].shape
        if step.op != "transpose" and [n for n in shape if n != 1] != [n for n in after if n != 1]:
            break
        axes = moved_axes(step, shape, after, axes)
    return product


def _weight_axes(uses: Uses, node: Node, product: _Product) -> frozenset[int]:
    """Axes of the product's result that are axes of the weight."""
    if node.op == "conv_general_dilated":
        is_kernel = node.inputs[0] == product.other
        return frozenset({node.attributes["dimension_numbers"].out_spec[1]} if is_kernel else ())
    (left_contracted, right_contracted), (batch, _) = node.attributes["dimension_numbers"]
    left, right = (_rank(uses, atom) for atom in node.inputs)
    split = left - len(left_contracted)
    rank = split + right - len(right_contracted) - len(batch)
    free = range(split, rank) if node.inputs[0] == product.other else range(len(batch), split)
    return frozenset({*range(len(batch)), *free})


def _rank(uses: Uses, atom: Atom) -> int:
    return len(atom.shape if isinstance(atom, Constant) else uses.infos[atom].shape)


# --- the layer -----------------------------------------------------------------------------------------------------


def _layer_node(uses: Uses, nodes: list[Node], product: _Product, path: Path) -> Node:
    node = nodes[product.index]
    bias = product.bias
    indices = {*product.weight.steps, product.index, *(bias.steps if bias else ()), *product.behind}
    steps = [nodes[i] for i in sorted(indices)]
    operands = {product.other: ("input", "0"), product.weight.value: ("params", "kernel")}
    if bias is not None:
        operands[bias.value] = ("params", "bias")
    inside = {value for step in steps for value in step.outputs}
    for atom in (a for step in steps for a in step.inputs):
        if not isinstance(atom, Constant) and atom not in operands and atom not in inside:
            operands[atom] = ("input", str(sum(role[0] == "input" for role in operands.values())))
    result = steps[-1].outputs[0]
    avals = [jax.ShapeDtypeStruct(uses.infos[v].shape, uses.infos[v].dtype) for v in operands]

    def run(*values: Any) -> Any:
        env: dict[ValueId, Any] = dict(zip(operands, values, strict=True))
        for step in steps:
            assert step.run is not None
            outputs = step.run(*(_constant(a) if isinstance(a, Constant) else env[a] for a in step.inputs))
            env.update(zip(step.outputs, outputs, strict=True))
        return [env[result]]

    closed = jax.make_jaxpr(run)(*avals)
    kind = KINDS[node.op]
    info = LayerInfo(
        kind=kind,
        type_name=kind.name.replace("_", " "),
        module_type=node.owner.module_types[0] if node.owner.module_types else object,
        path=path,
        attributes={"parameter": product.weight.parameter},
        operands=tuple(operands.values()),
        results=(("output", "0"),),
        visit=_NOT_STAGED,
        refusal=_refusal(node, uses.infos[result]),
    )
    return dataclasses.replace(
        node,
        op=kind.name,
        inputs=tuple(operands),
        outputs=(result,),
        layer=info,
        jaxpr=closed,
        run=as_function(closed),
        attributes={},
    )


def _constant(atom: Constant) -> Any:
    return np.asarray(atom.value, atom.dtype) if isinstance(atom.value, (bool, int, float, complex)) else atom.value


def _refusal(node: Node, result: ValueInfo) -> str | None:
    if result.dtype != np.float32:
        return f"computes in {result.dtype}: quantization is exact in float32 only"
    if node.op == "conv_general_dilated":
        if len(result.shape) - 2 > MOST_SPATIAL_AXES:
            return f"a convolution over {len(result.shape) - 2} axes: only one or two are supported"
        if node.attributes["batch_group_count"] != 1:
            return "batch_group_count is not supported"
    return None
