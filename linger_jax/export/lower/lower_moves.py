"""Steps that move values: the integers stay what they are."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

from linger_jax.compat import equations
from linger_jax.export.lower.exported_values import ExportedValue, HostValue, TensorValue, flax_order
from linger_jax.export.lower.lower_operators import flattened, joined
from linger_jax.export.lower.lower_selection import selected
from linger_jax.export.lower.lower_weighted import padded, reshaped
from linger_jax.export.lower.lowering_step import LoweringStep, lowers
from linger_jax.export.onnx import shape_constant, slice_constants
from linger_jax.kinds import DROPOUT, JOIN, MOVED
from linger_jax.kinds import onnx_operators as ops


@lowers(MOVED)
def structural(step: LoweringStep) -> Sequence[ExportedValue]:
    """A step of the plan that passes scale and bits on, by its primitive.

    Raises:
      ExportError: the primitive has no form in a file.
    """
    primitive, move = step.node.primitive, step.node.move
    rule = None if move is None else _unchanged if move.is_identity else FORMS.get(move.name)
    if move is None or rule is None:
        raise step.error(f"{primitive} has no form in a file; compute it in front of or behind the exported model")
    value = step.tensor(0)
    if value.order is not None and not move.keeps_flat_order:
        raise step.error(f"a flattened image passes through {primitive}")
    return rule(step, value)


def _unchanged(step: LoweringStep, value: TensorValue) -> Sequence[ExportedValue]:
    """The tensor as it is: integers, or real numbers that no cast rounds."""
    if value.grid is not None and step.node.reason:  # the plan says that the scale is lost here
        value = step.emit.real(value)
    target = step.graph.infos[step.node.outputs[0]].dtype
    if step.node.primitive == "convert_element_type" and value.grid is None and value.dtype != target:
        raise step.error(
            f"a cast of {value.dtype} to {target} has no form in a file; cast in front of the exported model"
        )
    return [value]


def _transpose(step: LoweringStep, value: TensorValue) -> Sequence[ExportedValue]:
    """Nothing moves: the tensor's axes get other names."""
    permutation = [int(p) for p in step.node.attributes["permutation"]]
    axes = tuple(permutation.index(axis) for axis in value.axes)
    keeps_image = value.image and permutation == list(range(value.rank))
    return [dataclasses.replace(value, shape=step.shape(), axes=axes, image=keeps_image)]


def _reshape(step: LoweringStep, value: TensorValue) -> Sequence[ExportedValue]:
    """A reshape, with as little done to the order of axes as is possible.

    Axes of length one come and go without a look at the order; an image is flattened as it lies where that is possible;
    everything else is reshaped in Flax's order.
    """
    before, after = value.shape, step.shape()
    if before == after:
        return [value]
    flattens = len(after) == 2 and after[0] == before[0]
    if value.image and flattens and step.node.primitive == "reshape" and step.keeps_flat_order:
        return [flattened(step, value)]
    if _without_units(before) == _without_units(after):
        return [_unit_axes(step, value, after)]
    if flattens and (step.keeps_flat_order or value.axes == flax_order(value.rank)):
        return [flattened(step, value)]
    return [reshaped(step, value, after)]


def _unit_axes(step: LoweringStep, value: TensorValue, after: tuple[int, ...]) -> TensorValue:
    """Removes axes of length one, then adds those that are missing."""
    before = value.shape
    kept_before = _matched_units(before, after)
    kept_after = _matched_units(after, before)
    dropped = [a for a in range(len(before)) if a not in kept_before]
    added = [a for a in range(len(after)) if a not in kept_after]
    names = dict(zip(kept_before, kept_after, strict=True))
    if dropped:
        axes = tuple(a for a in value.axes if a in names)
        order = {a: i for i, a in enumerate(kept_before)}
        value = step.emit.moved(
            ops.SQUEEZE,
            value,
            {"axes": sorted(value.position(a) for a in dropped)},
            shape=tuple(before[a] for a in kept_before),
            axes=tuple(order[a] for a in axes),
            image=False,
        )
        names = {order[a]: new for a, new in names.items()}
    if added:
        # New axes stand in the tensor where they stand in Flax's value.
        tensor = [names[a] for a in value.axes]
        for axis in added:
            tensor.insert(axis, axis)
        value = step.emit.moved(
            ops.UNSQUEEZE,
            value,
            {"axes": [tensor.index(a) for a in added]},
            shape=after,
            axes=tuple(tensor),
            image=False,
        )
    return value


def _matched_units(one: tuple[int, ...], other: tuple[int, ...]) -> list[int]:
    """Axes of ``one`` that have a counterpart in ``other``: longer ones all, units as far as both have them there."""
    kept, j = [], 0
    for i, size in enumerate(one):
        if size == 1:
            if j < len(other) and other[j] == 1:
                kept.append(i)
                j += 1
            continue
        while other[j] == 1:
            j += 1
        kept.append(i)
        j += 1
    return kept


def _without_units(shape: tuple[int, ...]) -> list[int]:
    return [n for n in shape if n != 1]


def _squeeze(step: LoweringStep, value: TensorValue) -> Sequence[ExportedValue]:
    return _reshape(step, value)


def _slice(step: LoweringStep, value: TensorValue) -> Sequence[ExportedValue]:
    a = step.node.attributes
    strides = a["strides"] or (1,) * value.rank
    return [sliced(step, value, a["start_indices"], a["limit_indices"], strides, step.shape())]


def sliced(
    step: LoweringStep,
    value: TensorValue,
    starts: Sequence[int],
    ends: Sequence[int],
    steps: Sequence[int],
    shape: tuple[int, ...],
) -> TensorValue:
    """A value cut along Flax axes, one start, end and step for each; as it is where nothing is cut."""
    cut = [axis for axis in range(value.rank) if (starts[axis], ends[axis], steps[axis]) != (0, value.shape[axis], 1)]
    if not cut:
        return value
    cut.sort(key=value.position)
    inputs = slice_constants(
        step.emit.graph,
        starts=[starts[a] for a in cut],
        ends=[ends[a] for a in cut],
        axes=[value.position(a) for a in cut],
        steps=[steps[a] for a in cut],
    )
    return step.emit.moved(ops.SLICE, value, {}, inputs, shape=shape)


def _reverse(step: LoweringStep, value: TensorValue) -> Sequence[ExportedValue]:
    return [reversed_along(step, value, [int(d) for d in step.node.attributes["dimensions"]])]


def reversed_along(step: LoweringStep, value: TensorValue, backwards: Sequence[int]) -> TensorValue:
    """A value with some Flax axes the other way round."""
    axes = range(value.rank)
    starts = [value.shape[a] - 1 if a in backwards else 0 for a in axes]
    ends = [-(2**31) if a in backwards else value.shape[a] for a in axes]
    return sliced(step, value, starts, ends, [-1 if a in backwards else 1 for a in axes], value.shape)


def _split(step: LoweringStep, value: TensorValue) -> Sequence[ExportedValue]:
    axis, sizes = int(step.node.attributes["axis"]), [int(s) for s in step.node.attributes["sizes"]]
    kind = step.emit.element_type(value)
    tensors = step.emit.graph.add(
        ops.SPLIT,
        [value.tensor],
        element_types=[kind] * len(sizes),
        attributes={"axis": value.position(axis), "split": sizes},
        label=step.node.label,
    )
    parts = [dataclasses.replace(value, tensor=tensor, shape=step.shape(i)) for i, tensor in enumerate(tensors)]
    return [step.emit.made(part) for part in parts]


def _unstack(step: LoweringStep, value: TensorValue) -> Sequence[ExportedValue]:
    """Each result is a slice of length one whose axis goes; a result that nobody reads leaves nothing behind."""
    axis = int(step.node.attributes["axis"])
    shape = tuple(1 if a == axis else n for a, n in enumerate(value.shape))
    parts = []
    for i in range(value.shape[axis]):
        starts = [i if a == axis else 0 for a in range(value.rank)]
        ends = [i + 1 if a == axis else n for a, n in enumerate(value.shape)]
        part = sliced(step, value, starts, ends, [1] * value.rank, shape)
        parts.append(_unit_axes(step, part, step.shape(i)))
    return parts


def _pad(step: LoweringStep, value: TensorValue) -> Sequence[ExportedValue]:
    """Negative padding cuts; then the rest is added."""
    config = [(int(low), int(high), int(inner)) for low, high, inner in step.node.attributes["padding_config"]]
    fill = step.operands[1]
    if any(inner for _, _, inner in config) or not isinstance(fill, HostValue):
        raise step.error("padding between elements, or with a computed value, has no form in a file")
    number = float(fill.array)
    if value.grid is not None and any(low > 0 or high > 0 for low, high, _ in config):
        steps, most = number * value.grid.scale, 2 ** (value.grid.bits - 1)
        if steps != math.floor(steps) or not -most <= steps < most:
            raise step.error(
                f"padding with {number:g}, which is not on the grid of {value.grid.bits} bits at scale "
                f"{value.grid.scale:g}, has no form in a file; pad with zero"
            )
    starts = [max(0, -low) for low, _, _ in config]
    ends = [n - max(0, -high) for n, (_, high, _) in zip(value.shape, config, strict=True)]
    kept = tuple(end - start for start, end in zip(starts, ends, strict=True))
    value = sliced(step, value, starts, ends, [1] * value.rank, kept)
    amounts = [(max(0, low), max(0, high)) for low, high, _ in config]
    return [padded(step, value, amounts, number) if any(map(any, amounts)) else value]


def _put_together(step: LoweringStep, value: TensorValue) -> Sequence[ExportedValue]:
    """Parts of one array, which lie on one grid: the concatenation copies them."""
    parts = [part for part in step.operands if isinstance(part, TensorValue)]
    if value.grid is None or len(parts) != len(step.operands) or any(p.grid != value.grid for p in parts):
        raise step.error("parts on different grids are put together")
    return [joined(step, parts, int(step.node.attributes["dimension"]), value.grid, step.shape())]


def _broadcast(step: LoweringStep, value: TensorValue) -> Sequence[ExportedValue]:
    """New axes of length one; lengths that grow need an Expand node."""
    shape = step.shape()
    places = [int(d) for d in step.node.attributes["broadcast_dimensions"]]
    units = [1] * len(shape)
    for axis, place in enumerate(places):
        units[place] = value.shape[axis]
    if tuple(units) != value.shape:
        value = _unit_axes(step, value, tuple(units))
    if tuple(units) == shape:
        return [value]
    target = tuple(shape[a] for a in value.axes)
    constant = shape_constant(step.emit.graph, target)
    return [step.emit.moved(ops.EXPAND, value, {}, [constant], shape=shape)]


FORMS: Mapping[str, Callable[[LoweringStep, TensorValue], Sequence[ExportedValue]]] = {
    "transpose": _transpose,
    "reshape": _reshape,
    "squeeze": _squeeze,
    "expand_dims": _squeeze,
    "slice": _slice,
    "rev": _reverse,
    "split": _split,
    "unstack": _unstack,
    "pad": _pad,
    "broadcast_in_dim": _broadcast,
    JOIN.name: _put_together,
    **dict.fromkeys(("gather", "dynamic_slice", "tile"), selected),
}
"""The nodes of each move that moves anything."""


@lowers(DROPOUT)
def dropout(step: LoweringStep) -> Sequence[ExportedValue]:
    """Nothing, in evaluation.

    Raises:
      ExportError: the call drops values.
    """
    draws = step.node.layer is None or (step.node.jaxpr is not None and bool(equations(step.node.jaxpr)))
    if draws:
        raise step.error("this call drops values; export the evaluation (deterministic=True, train=False or the like)")
    return [step.tensor(0)]
