"""Following an operand back to the parameter it is a view of (docs/decisions.md D23).

A view moves the values of a parameter: reshape, transpose, slice, an index into a leading stacked axis. A product with
a scalar constant (``w * scale``, as width-scaled parametrisations write it) and a cast there and back change the
values; the weight is then what comes out of the last such step, and a view from there on.
"""

from __future__ import annotations

import dataclasses
import math

from linger_jax.compat import is_tracer
from linger_jax.kinds import MOVES, UNIT_AXES, ParameterView
from linger_jax.plan.graph import Atom, Constant, Node, Uses, ValueId
from linger_jax.plan.recognize.scalar_division import SCALAR_DIVISION
from linger_jax.typing import Path

_MOVES, _CASTS, _INDEXES = (
    frozenset(move.name for move in MOVES.values() if move.view is view)
    for view in (ParameterView.moved, ParameterView.cast, ParameterView.indexed)
)
_CHANGES = _CASTS | {"mul", SCALAR_DIVISION}


@dataclasses.dataclass(frozen=True)
class View:
    """Where an operand comes from.

    Attributes:
      parameter: path of the variable.
      value: what is viewed: the variable as it is stored (or a loop's slice of it), or what was computed from it.
      steps: nodes between ``value`` and the operand, in order.
      computed: whether ``value`` differs from the variable by a scalar factor or a cast.
      indexed: a number that the call computes chose a part of the variable.
      stack: the scans that iterate over the variable, outermost first.
    """

    parameter: Path
    value: ValueId
    steps: tuple[int, ...]
    computed: bool
    indexed: bool
    stack: tuple[tuple[int, int], ...]


def view_of(uses: Uses, nodes: list[Node], atom: Atom) -> View | None:
    """The parameter that ``atom`` is a view of, or None."""
    values: list[ValueId] = []
    steps: list[int] = []
    while not isinstance(atom, Constant):
        values.append(atom)
        maker = uses.maker_of(atom)
        if maker is None:
            break
        source = _source(uses, nodes[maker])
        if source is None:
            return None
        steps.append(maker)
        atom = source
    if not values or isinstance(atom, Constant):
        return None
    origin = uses.infos[atom]
    if origin.parameter is None or origin.parameter[0] != "params":
        return None
    # From the operand backwards, the first step that changes values makes the weight.
    kept = next((i for i, step in enumerate(steps) if nodes[step].op in _CHANGES), len(steps))
    return View(
        parameter=origin.parameter,
        value=values[kept],
        steps=tuple(reversed(steps[:kept])),
        computed=kept < len(steps),
        indexed=any(nodes[step].op in _INDEXES for step in steps),
        stack=origin.stack,
    )


def _source(uses: Uses, node: Node) -> Atom | None:
    """The operand whose values a node moves or scales."""
    if node.layer is not None or node.body is not None or not node.inputs:
        return None
    source = node.inputs[0]
    if node.op in _MOVES | _CASTS:
        return source
    if node.op in _INDEXES:
        return source if _is_stack_index(uses, node) else None
    if node.op == "mul":
        scalars = [_is_scalar(atom) for atom in node.inputs]
        return node.inputs[scalars.index(False)] if scalars.count(True) == 1 else None
    return source if node.op == SCALAR_DIVISION else None


def _is_scalar(atom: Atom) -> bool:
    return isinstance(atom, Constant) and math.prod(atom.shape) == 1 and not is_tracer(atom.value)


def _is_stack_index(uses: Uses, node: Node) -> bool:
    """Whether one entry of the leading axes is taken, as in ``w[layer]``; looking up many rows is data."""
    source = node.inputs[0]
    if isinstance(source, Constant):
        return False
    shape, sizes = uses.infos[source].shape, tuple(node.attributes["slice_sizes"])
    leading = next((i for i, (size, n) in enumerate(zip(sizes, shape, strict=True)) if size != 1 or n == 1), len(sizes))
    if sizes[leading:] != shape[leading:]:
        return False
    if node.op == "dynamic_slice":
        return True
    indices = node.inputs[1]
    index_shape = indices.shape if isinstance(indices, Constant) else uses.infos[indices].shape
    return math.prod(index_shape[:-1]) == 1


def varying_axes(uses: Uses, nodes: list[Node], view: View) -> frozenset[int]:
    """Axes of the viewing operand along which the values of the parameter can differ."""
    axes = frozenset(i for i, n in enumerate(uses.infos[view.value].shape) if n > 1)
    for step in view.steps:
        node = nodes[step]
        shape = uses.infos[node.outputs[0]].shape
        if node.op == "broadcast_in_dim":
            axes = frozenset(node.attributes["broadcast_dimensions"][i] for i in axes)
        else:
            source = node.inputs[0]
            before = uses.infos[source].shape if not isinstance(source, Constant) else ()
            axes = moved_axes(node, before, shape, axes)
    return axes


def moved_axes(node: Node, before: tuple[int, ...], after: tuple[int, ...], axes: frozenset[int]) -> frozenset[int]:
    """Where axes of an operand are in the result of a transpose or of adding and removing axes of length one.

    Behind any other step every axis that is longer than one counts.
    """
    if node.op == "transpose":
        return frozenset(i for i, axis in enumerate(node.attributes["permutation"]) if axis in axes)
    long_before = [i for i, n in enumerate(before) if n != 1]
    long_after = [i for i, n in enumerate(after) if n != 1]
    if node.op in UNIT_AXES and [before[i] for i in long_before] == [after[i] for i in long_after]:
        return frozenset(there for here, there in zip(long_before, long_after, strict=True) if here in axes)
    return frozenset(long_after)
