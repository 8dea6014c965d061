"""Recognising operators in a raw graph: activations, average pooling, inlined library functions.

Source: docs/architecture.md section 4.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from linger_jax.compat import CALL, CUSTOM_JVP, ClosedJaxpr, equations, evaluated_now, is_tracer, operation
from linger_jax.kinds import AVG_POOL, GLU, RELU, RELU6, SWISH, UNIT_AXES
from linger_jax.numerics import true_quotient
from linger_jax.plan.graph import (
    POOL,
    PRIMITIVE,
    Atom,
    AveragePool,
    Constant,
    Graph,
    Node,
    Uses,
    Window,
    is_library_call,
)
from linger_jax.plan.recognize.pool_window import integer_divisor
from linger_jax.plan.recognize.random_masks import written_dropout
from linger_jax.plan.recognize.scalar_division import scalar_division
from linger_jax.plan.recognize.templates import Template, match_template


def recognise(graph: Graph, templates: Sequence[Template]) -> Graph:
    """The same graph with operators that are written as several equations folded into one node each."""
    nodes = [_with_recognised_body(node, templates) for node in graph.nodes]
    nodes = [_activation(node) for node in nodes]
    nodes = _fold(graph, nodes, lambda g, n, i: match_template(g, n, i, templates))
    nodes = _fold(graph, nodes, written_dropout)
    nodes = _fold(graph, nodes, _average_pool)
    nodes = _fold(graph, nodes, _division_by_scalar)
    return dataclasses.replace(graph, nodes=tuple(nodes))


def _with_recognised_body(node: Node, templates: Sequence[Template]) -> Node:
    if node.body is None:
        return node
    return dataclasses.replace(node, body=recognise(node.body, templates))


Match = tuple[Node, frozenset[int]]


def _fold(graph: Graph, nodes: list[Node], match: Callable[[Uses, list[Node], int], Match | None]) -> list[Node]:
    """Replaces every match by its one node; matches neither overlap nor leave an inner value in use."""
    uses = Uses(graph, nodes)
    taken: set[int] = set()
    replaced: dict[int, Node] = {}
    for index in range(len(nodes)):
        found = match(uses, nodes, index)
        if found is None:
            continue
        node, interior = found
        if interior & taken:
            continue
        taken |= interior
        replaced[index] = node
    return [replaced.get(i, node) for i, node in enumerate(nodes) if i not in taken or i in replaced]


# --- activations ---------------------------------------------------------------------------------------------------


def _activation(node: Node) -> Node:
    if node.op == CUSTOM_JVP:
        name = _custom_jvp_name(node)
        if name in (RELU.name, RELU6.name):
            return dataclasses.replace(node, op=name)
    elif node.op == CALL and is_library_call(node.attributes["jaxpr"]):
        name, steps = node.attributes["name"], equations(node.attributes["jaxpr"])
        if name in SWISH.nodes:
            return dataclasses.replace(node, op=name, attributes={PRIMITIVE: "jit"})
        if name == GLU.name and [step.primitive.name for step in steps] == ["split", "logistic", "mul"]:
            return dataclasses.replace(
                node, op=GLU.name, attributes={PRIMITIVE: "jit", "axis": steps[0].params["axis"]}
            )
    elif node.op == "max" and any(isinstance(a, Constant) and a.is_scalar(0.0) for a in node.inputs):
        tensors = tuple(a for a in node.inputs if not isinstance(a, Constant))
        if len(tensors) == 1:
            return dataclasses.replace(node, op=RELU.name, attributes={PRIMITIVE: "max"})
    return node


def _custom_jvp_name(node: Node) -> str | None:
    """Name of a library function with its own derivative; None for the user's own functions."""
    closed: ClosedJaxpr = node.attributes["jaxpr"]
    if not is_library_call(closed):
        return None
    steps = [operation(eqn) for eqn in equations(closed)]
    (only,) = steps if len(steps) == 1 else (None,)
    return str(only.params["name"] if only is not None and only.name == CALL else node.attributes["function"])


# --- average pooling -----------------------------------------------------------------------------------------------


def _average_pool(uses: Uses, nodes: list[Node], index: int) -> Match | None:
    """A sum over windows or over the whole plane, completed by a division by a known number."""
    node = nodes[index]
    if node.op != "div" or len(node.inputs) != 2:
        return None
    numerator, divisor = node.inputs
    interior = {index}
    chain: list[int] = []
    maker = uses.maker_of(numerator)
    while maker is not None and _is_unit_axes(uses, nodes[maker]) and _read_once(uses, nodes[maker]):
        chain.insert(0, maker)
        maker = uses.maker_of(nodes[maker].inputs[0])
    if maker is None or not _read_once(uses, nodes[maker]):
        return None
    total = nodes[maker]
    window = _window(uses, total)
    if window is None:
        return None
    count = constant_value(divisor, uses, nodes)
    if count is None or not np.all(count == np.rint(count)) or not np.all(count >= 1):
        return None
    assert not isinstance(total.inputs[0], Constant)
    plane = uses.infos[total.inputs[0]].shape[1:-1]
    interior |= {maker, *chain}
    after = [nodes[i] for i in (*chain, index)]
    assert total.run is not None
    pool = AveragePool(
        window=window,
        divisor=integer_divisor(window, plane, np.asarray(np.rint(count), np.int64)),
        total=total.run,
        after=tuple(n.run for n in after[:-1] if n.run is not None),
        whole_plane=total.op == "reduce_sum",
    )
    pooled = dataclasses.replace(
        node,
        op=AVG_POOL.name,
        inputs=(total.inputs[0],),
        attributes={POOL: pool},
        run=_float_average(total, after, count),
        owner=total.owner,
        source=node.source or total.source,
    )
    return pooled, frozenset(interior)


def _float_average(total: Node, after: Sequence[Node], count: np.ndarray[Any, Any]) -> Callable[..., list[Any]]:
    """The float average by a true division: a last bit of it would show in the output's statistic."""
    divisor = np.asarray(count, np.float32)

    def run(x: Any) -> list[Any]:
        value = total.run(x)[0] if total.run else x
        for step in after[:-1]:
            value = step.run(value)[0] if step.run else value
        return [true_quotient(value, divisor)]

    return run


def _division_by_scalar(uses: Uses, nodes: list[Node], index: int) -> Match | None:
    node = nodes[index]
    if node.op != "div" or len(node.inputs) != 2 or uses.infos[node.outputs[0]].dtype != np.float32:
        return None
    folded = scalar_division(node, constant_value(node.inputs[1], uses, nodes))
    return None if folded is None else (folded, frozenset({index}))


def _read_once(uses: Uses, node: Node) -> bool:
    return len(node.outputs) == 1 and uses.readers[node.outputs[0]] == 1


def _is_unit_axes(uses: Uses, node: Node) -> bool:
    if node.op not in UNIT_AXES or isinstance(node.inputs[0], Constant):
        return False
    before = [n for n in uses.infos[node.inputs[0]].shape if n != 1]
    return before == [n for n in uses.infos[node.outputs[0]].shape if n != 1]


def spatial_window(attributes: Mapping[str, Any], shape: tuple[int, ...]) -> Window | None:
    """Window of a reduce_window over spatial axes only (batch first, channels last), else None."""
    dimensions = attributes["window_dimensions"]
    strides = attributes["window_strides"]
    padding = attributes["padding"]
    plain = all(d == 1 for d in (*attributes["base_dilation"], *attributes["window_dilation"]))
    outside = (0, len(shape) - 1)
    if len(shape) < 3 or not plain or any(dimensions[a] != 1 or tuple(padding[a]) != (0, 0) for a in outside):
        return None
    plane = range(1, len(shape) - 1)
    return Window(
        tuple(int(dimensions[a]) for a in plane),
        tuple(int(strides[a]) for a in plane),
        tuple((int(padding[a][0]), int(padding[a][1])) for a in plane),
    )


def _window(uses: Uses, total: Node) -> Window | None:
    if not total.inputs or isinstance(total.inputs[0], Constant):
        return None
    info = uses.infos[total.inputs[0]]
    if info.dtype != np.float32:
        return None
    if total.op == "reduce_window_sum":
        return spatial_window(total.attributes, info.shape)
    if total.op == "reduce_sum" and len(info.shape) >= 3:
        plane = tuple(range(1, len(info.shape) - 1))
        if tuple(sorted(total.attributes["axes"])) == plane:
            kernel = tuple(info.shape[a] for a in plane)
            return Window(kernel, (1,) * len(plane), ((0, 0),) * len(plane))
    return None


def constant_value(atom: Atom, uses: Uses, nodes: Sequence[Node]) -> np.ndarray[Any, Any] | None:
    """Value of an atom computed from constants alone, or None."""
    if isinstance(atom, Constant):
        return np.asarray(atom.value, np.float64) if not is_tracer(atom.value) else None
    maker = uses.maker_of(atom)
    if maker is None:
        return None
    node = nodes[maker]
    if node.run is None or node.layer is not None or len(node.outputs) != 1:
        return None
    operands = [constant_value(a, uses, nodes) for a in node.inputs]
    if any(o is None for o in operands):
        return None
    dtypes = [a.dtype if isinstance(a, Constant) else uses.infos[a].dtype for a in node.inputs]
    with evaluated_now():
        arrays = [jax.numpy.asarray(np.asarray(o, d)) for o, d in zip(operands, dtypes, strict=True)]
        return np.asarray(node.run(*arrays)[0], np.float64)
