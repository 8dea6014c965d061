"""How each operation of a plan carries an axis layout from its operands to its results."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from linger_jax.converters.layout.axis_layout import (
    UNFOLLOWED,
    Axis,
    AxisOrder,
    Layout,
    channels_last,
    order_or_none,
    plain,
    reshape,
    same_order,
)
from linger_jax.kinds import AVG_POOL
from linger_jax.plan import Node
from linger_jax.typing import Shape

# An operand: its shape and its layout, None where it depends on parameters and constants alone.
Operand = tuple[Shape, Layout | None]
LayoutRule = Callable[[Node, Sequence[Operand], Shape], Layout]

JOINED = "features in different orders are combined"


def apply_rule(node: Node, operands: Sequence[Operand], shapes: Sequence[Shape]) -> list[Layout | None]:
    """Layouts of the results of a node that is no layer and has no body."""
    if all(layout is None for _, layout in operands):
        return [None] * len(shapes)
    name = node.primitive
    if node.kind == AVG_POOL:
        name = AVG_POOL.name
    if name == "split":
        return list(_split(node, operands[0], shapes))
    if name == "unstack":
        return list(_unstack(node, operands[0], shapes))
    rule = RULES.get(name)
    if rule is not None and operands[0][1] is None and name not in _ANY_OPERAND:
        rule = None  # a constant is indexed by data: the result is laid out like nothing known
    return [(rule or _other)(node, operands, shape) for shape in shapes]


# --- values of one shape ---


def combine(operands: Sequence[Operand], shape: Shape) -> Layout:
    """An elementwise operation; axes of length one give way to longer ones."""
    layouts = [(s, layout) for s, layout in operands if layout is not None and len(s) == len(shape)]
    return tuple(
        _joined([layout[i] for s, layout in layouts if s[i] == shape[i] and (s[i] != 1)]) for i in range(len(shape))
    )


def _joined(axes: Sequence[Axis]) -> Axis:
    if len(axes) <= 1:
        return axes[0] if axes else Axis()
    kinds = {axis.kind for axis in axes}
    doubt = next((axis.doubt for axis in axes if axis.doubt), "")
    if "spatial" in kinds and len(kinds) > 1 and any(a.kind != "spatial" and not a.parts for a in axes):
        doubt = doubt or "a value of positions and a value of another kind are combined"
    order = axes[0].order
    if not all(same_order(order, axis.order) for axis in axes[1:]):
        order = AxisOrder(None, next((a.order.doubt for a in axes if a.order and a.order.doubt), JOINED))
    return Axis(
        "spatial" if "spatial" in kinds else "channel" if "channel" in kinds else "plain",
        order,
        frozenset().union(*(axis.makers for axis in axes)),
        frozenset().union(*(axis.parts for axis in axes)),
        doubt,
    )


def _other(node: Node, operands: Sequence[Operand], shape: Shape) -> Layout:
    """An operation without a rule: elementwise where the shapes say so, otherwise laid out alike in both."""
    known = [(s, layout) for s, layout in operands if layout is not None]
    full = [s for s, _ in known if s]
    name = str(node.attributes.get("name", node.op))
    if all(
        s == shape or (len(s) == len(shape) and all(n in (1, m) for n, m in zip(s, shape, strict=True))) for s in full
    ):
        layout = combine(known, shape)
        if name not in _MIXES_POSITIONS:
            return layout
        return tuple(
            dataclasses.replace(axis, order=AxisOrder(None, f"they pass through {name}")) if axis.order else axis
            for axis in layout
        )
    lost = any(axis.order is not None for _, layout in known for axis in layout)
    moved = any(axis.kind != "plain" for _, layout in known for axis in layout) and len(shape) >= 3
    where = f"{name} at {node.source}" if node.source else name
    doubt = f"the value comes through {where}, whose axes are not followed"
    order = AxisOrder(None, doubt) if lost else None
    return tuple(Axis(order=order, doubt=doubt if moved else "") for _ in shape)


# --- axes that come, go and move ---


def _reshape(node: Node, operands: Sequence[Operand], shape: Shape) -> Layout:
    before, layout = operands[0]
    assert layout is not None
    return reshape(layout, before, shape)


def _transpose(node: Node, operands: Sequence[Operand], shape: Shape) -> Layout:
    layout = operands[0][1]
    assert layout is not None
    return tuple(layout[axis] for axis in node.attributes["permutation"])


def _broadcast(node: Node, operands: Sequence[Operand], shape: Shape) -> Layout:
    before, layout = operands[0]
    assert layout is not None
    result = list(plain(len(shape)))
    for i, axis in enumerate(node.attributes["broadcast_dimensions"]):
        if before[i] == shape[axis]:
            result[axis] = layout[i]
    return tuple(result)


def _squeeze(node: Node, operands: Sequence[Operand], shape: Shape) -> Layout:
    before, layout = operands[0]
    assert layout is not None
    gone = {axis % len(before) for axis in node.attributes["dimensions"]}
    return tuple(axis for i, axis in enumerate(layout) if i not in gone)


def _reduce(node: Node, operands: Sequence[Operand], shape: Shape) -> Layout:
    layout = operands[0][1]
    assert layout is not None
    gone = set(node.attributes["axes"])
    return tuple(axis for i, axis in enumerate(layout) if i not in gone)


def _average(node: Node, operands: Sequence[Operand], shape: Shape) -> Layout:
    before, layout = operands[0]
    assert layout is not None
    if len(shape) != len(before):
        return (layout[0], layout[-1]) if len(shape) == 2 else _other(node, operands, shape)
    return _pool(before, layout)


def _window(node: Node, operands: Sequence[Operand], shape: Shape) -> Layout:
    before, layout = operands[0]
    assert layout is not None
    windows = node.attributes["window_dimensions"]
    return _pool(before, layout) if windows[-1] == 1 else layout


def _pool(before: Shape, layout: Layout) -> Layout:
    if len(before) < 3 or any(axis.kind != "plain" for axis in layout):
        return layout
    kinds = channels_last(len(before), len(before) - 2)
    return tuple(dataclasses.replace(a, kind=k.kind) for a, k in zip(layout, kinds, strict=True))


# --- parts of axes ---


def _cut(axis: Axis, chosen: slice) -> Axis:
    makers = frozenset({UNFOLLOWED}) if axis.makers else axis.makers
    if axis.order is None or axis.order.index is None:
        return dataclasses.replace(axis, makers=makers)
    index = axis.order.index[chosen]
    first = int(index.min()) if index.size else 0
    if sorted(index.tolist()) != list(range(first, first + index.size)):
        text = "flattened features are cut in places that PyTorch counts differently"
        return dataclasses.replace(axis, order=AxisOrder(None, text), makers=makers)
    return dataclasses.replace(axis, order=order_or_none(index - first, axis.order.doubt), makers=makers)


def _slice(node: Node, operands: Sequence[Operand], shape: Shape) -> Layout:
    before, layout = operands[0]
    assert layout is not None
    starts, limits = node.attributes["start_indices"], node.attributes["limit_indices"]
    strides = node.attributes["strides"] or (1,) * len(before)
    return tuple(
        axis if shape[i] == before[i] else _cut(axis, slice(starts[i], limits[i], strides[i]))
        for i, axis in enumerate(layout)
    )


def _split(node: Node, operand: Operand, shapes: Sequence[Shape]) -> list[Layout]:
    layout = operand[1]
    assert layout is not None
    at, results, start = node.attributes["axis"], [], 0
    for shape in shapes:
        cut = _cut(layout[at], slice(start, start + shape[at])) if len(shapes) > 1 else layout[at]
        results.append((*layout[:at], cut, *layout[at + 1 :]))
        start += shape[at]
    return results


def _unstack(node: Node, operand: Operand, shapes: Sequence[Shape]) -> list[Layout]:
    layout = operand[1]
    assert layout is not None
    at = node.attributes["axis"]
    return [(*layout[:at], *layout[at + 1 :]) for _ in shapes]


def _resized(node: Node, operands: Sequence[Operand], shape: Shape) -> Layout:
    """Pad, dynamic slice, tile, rev: the axis stays what it is; features in PyTorch's order do not survive it."""
    before, layout = operands[0]
    assert layout is not None
    touched = set(node.attributes.get("dimensions", ())) | {i for i in range(len(shape)) if shape[i] != before[i]}
    text = f"they pass through {node.primitive}"
    result = []
    for i, axis in enumerate(layout):
        if i in touched:
            order = None if axis.order is None else AxisOrder(None, text)
            makers = frozenset({UNFOLLOWED}) if axis.makers else axis.makers
            axis = dataclasses.replace(axis, order=order, makers=makers)
        result.append(axis)
    return tuple(result)


def _gather(node: Node, operands: Sequence[Operand], shape: Shape) -> Layout:
    before, layout = operands[0]
    assert layout is not None
    numbers, sizes = node.attributes["dimension_numbers"], node.attributes["slice_sizes"]
    kept = [i for i in range(len(before)) if i not in (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)]
    lost = [i for i in range(len(before)) if sizes[i] != before[i] and layout[i].order is not None]
    text = "flattened features are gathered by index"
    result = list(plain(len(shape)))
    for target, source in zip(numbers.offset_dims, kept, strict=True):
        result[target] = layout[source] if sizes[source] == before[source] else _cut(layout[source], slice(0, 0))
    if lost:
        result = [dataclasses.replace(axis, order=AxisOrder(None, text)) for axis in result]
    elif len(kept) < len(before):
        # An index array stands in the place of the axis that it picks from.
        free = [i for i in range(len(shape)) if i not in numbers.offset_dims]
        for target, source in zip(free, sorted(numbers.collapsed_slice_dims), strict=False):
            result[target] = dataclasses.replace(layout[source], makers=frozenset())
    return tuple(result)


# --- several operands ---


def _concatenate(node: Node, operands: Sequence[Operand], shape: Shape) -> Layout:
    at = node.attributes["dimension"]
    known = [layout for _, layout in operands if layout is not None]
    result = [_joined([layout[i] for layout in known if shape[i] != 1]) for i in range(len(shape))]
    orders = [None if layout is None else layout[at].order for _, layout in operands]
    order = None
    if any(o is not None for o in orders):
        doubt = next((o.doubt for o in orders if o is not None and o.doubt), "")
        if any(o is not None and o.index is None for o in orders):
            order = AxisOrder(None, doubt)
        else:
            index, start = [], 0
            for (s, _), o in zip(operands, orders, strict=True):
                own = np.arange(s[at]) if o is None or o.index is None else o.index
                index.append(own + start)
                start += s[at]
            order = order_or_none(np.concatenate(index), doubt)
    makers = frozenset({UNFOLLOWED}) if result[at].makers else frozenset()
    result[at] = dataclasses.replace(result[at], order=order, makers=makers)
    return tuple(result)


def _stack(node: Node, operands: Sequence[Operand], shape: Shape) -> Layout:
    at = node.attributes["axis"] % len(shape)
    joined = combine(operands, operands[0][0])
    return (*joined[:at], Axis(), *joined[at:])


def _dot(node: Node, operands: Sequence[Operand], shape: Shape) -> Layout:
    """Batch axes, then what is left of the left operand, then of the right one."""
    (contracted, batch) = node.attributes["dimension_numbers"]
    sides = []
    for (s, layout), gone, shared in zip(operands, contracted, batch, strict=True):
        axes = layout if layout is not None else plain(len(s))
        free = [axes[i] for i in range(len(s)) if i not in (*gone, *shared)]
        sides.append(([axes[i] for i in shared], free, [axes[i].order for i in gone], layout is None))
    (left_batch, left, left_orders, left_fixed), (right_batch, right, right_orders, right_fixed) = sides
    if left_fixed != right_fixed:
        # A product with a parameter is a Dense that somebody wrote by hand.
        data = as_dense_input(right if left_fixed else left, len(shape))
        left, right = (
            ([feature_axis(data)] * len(left), data) if left_fixed else (data, [feature_axis(data)] * len(right))
        )
    result = [_joined([a, b]) for a, b in zip(left_batch, right_batch, strict=True)] + left + right
    if left_fixed != right_fixed:
        orders, text = (
            (right_orders if left_fixed else left_orders),
            "they are multiplied by a parameter of the model itself",
        )
    else:
        orders, text = [a for a, b in zip(left_orders, right_orders, strict=True) if not same_order(a, b)], JOINED
    if any(o is not None for o in orders):
        result = [dataclasses.replace(axis, order=AxisOrder(None, text)) for axis in result]
    return tuple(result)


def as_dense_input(outer: Sequence[Axis], rank: int) -> list[Axis]:
    """The axes that a Dense leaves alone. ``torch.nn.Linear`` has its features last: a sequence is laid out alike."""
    return [dataclasses.replace(axis, kind="plain") for axis in outer] if rank <= 3 else list(outer)


def feature_axis(outer: Sequence[Axis]) -> Axis:
    """The axis of output features of a Dense: channels where the others are positions."""
    return Axis("channel" if any(axis.kind == "spatial" for axis in outer) else "plain")


def _convolution(node: Node, operands: Sequence[Operand], shape: Shape) -> Layout:
    batch, channel, *_ = node.attributes["dimension_numbers"].out_spec
    kinds = {batch: Axis(), channel: Axis("channel")}
    return tuple(kinds.get(i, Axis("spatial")) for i in range(len(shape)))


# Same shape before and behind, but an element does not stay where it was.
_MIXES_POSITIONS = frozenset({"sort", "cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp", "fft", "while", "cond"})
_ANY_OPERAND = frozenset({"concatenate", "stack", "dot_general", "conv_general_dilated"})
_REDUCTIONS = ("sum", "max", "min", "prod", "and", "or", "xor")

RULES: Mapping[str, LayoutRule] = {
    "reshape": _reshape,
    "transpose": _transpose,
    "broadcast_in_dim": _broadcast,
    "squeeze": _squeeze,
    **{f"reduce_{name}": _reduce for name in _REDUCTIONS},
    "argmax": _reduce,
    "argmin": _reduce,
    AVG_POOL.name: _average,
    **{f"reduce_window_{name}": _window for name in ("max", "min", "sum")},
    "slice": _slice,
    "pad": _resized,
    "dynamic_slice": _resized,
    "tile": _resized,
    "rev": _resized,
    "gather": _gather,
    "concatenate": _concatenate,
    "stack": _stack,
    "dot_general": _dot,
    "conv_general_dilated": _convolution,
}
