"""Where the elements of a Flax value stand in its PyTorch counterpart, axis by axis.

Flax models are channels-last, PyTorch's are channels-first (docs/decisions.md D20). As long as both keep their axes
apart that is a matter of naming: each axis is marked as ``channel``, ``spatial`` or ``plain`` (the same place in both).
It becomes a permutation where a reshape merges a channel axis with spatial ones: PyTorch's flattened features count
channels first. Such an axis carries an ``AxisOrder``, which every operation behind it carries on.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from linger_jax.typing import HostArray, Path, Shape

AxisKind = Literal["plain", "channel", "spatial"]


@dataclasses.dataclass(frozen=True, eq=False)
class AxisOrder:
    """Order of one axis.

    Attributes:
      index: PyTorch's index of each Flax index; None where it cannot be known.
      doubt: why this is not certain, or why it cannot be known.
    """

    index: HostArray | None
    doubt: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class Unflatten:
    """A reshape that spread one feature axis over several.

    Attributes:
      makers: the layers whose output features these are.
      sizes: of the new axes.
      graph_input: set instead of makers where the axes are those of an input of the model.
    """

    makers: frozenset[Path]
    sizes: Shape
    graph_input: int | None = None


Part = tuple[Unflatten, int]
# Stands among makers when features were joined or cut on the way: no layer's columns can be permuted for them.
UNFOLLOWED: Path = ("<joined features>",)


@dataclasses.dataclass(frozen=True, eq=False)
class Axis:
    """One axis of a value.

    Attributes:
      kind: what it is to PyTorch.
      order: None where both count it alike.
      makers: layers whose output features run along it.
      parts: which axis of which reshape it is.
      doubt: why ``kind`` is not certain.
    """

    kind: AxisKind = "plain"
    order: AxisOrder | None = None
    makers: frozenset[Path] = frozenset()
    parts: frozenset[Part] = frozenset()
    doubt: str = ""


Layout = tuple[Axis, ...]


def plain(rank: int) -> Layout:
    """A value that both frameworks lay out alike."""
    return (Axis(),) * rank


def channels_last(rank: int, spatial: int) -> Layout:
    """A value whose last axis holds channels, behind ``spatial`` axes of positions."""
    outer = rank - spatial - 1
    return (*plain(outer), *(Axis("spatial") for _ in range(spatial)), Axis("channel"))


def order_or_none(index: HostArray | None, doubt: str = "") -> AxisOrder | None:
    """An order, or None for the identity."""
    if index is not None and np.array_equal(index, np.arange(index.size)):
        return None
    return AxisOrder(index, doubt)


def same_order(one: AxisOrder | None, other: AxisOrder | None) -> bool:
    """Whether two axes of one length are counted alike."""
    if one is None or other is None or one.index is None or other.index is None:
        return one is other
    return np.array_equal(one.index, other.index)


def merge(axes: Sequence[Axis], sizes: Sequence[int], *, with_batch: bool = False) -> Axis:
    """The axis that a reshape makes of neighbours: PyTorch counts channels before positions.

    Args:
      axes, sizes: of the neighbours.
      with_batch: the first of them leads the value, so that the result holds no features.
    """
    used = [(axis, size) for axis, size in zip(axes, sizes, strict=True) if size != 1]
    if len(used) <= 1:
        return used[0][0] if used else Axis()
    axes, sizes = [a for a, _ in used], [n for _, n in used]
    kinds: set[AxisKind] = {axis.kind for axis in axes}
    doubt = next((axis.doubt for axis in axes if axis.doubt), "")
    doubt = next((a.order.doubt for a in axes if a.order is not None and a.order.doubt), doubt)
    kind: AxisKind = next(iter(kinds)) if len(kinds) == 1 else "plain"
    makers = _makers_of_parts(axes)
    if any(axis.order is not None and axis.order.index is None for axis in axes):
        return Axis(kind, AxisOrder(None, doubt), makers)
    guessed = bool(doubt) and kinds == {"plain"}
    if guessed and with_batch and all(axis.order is None for axis in axes):
        return Axis(kind, None, makers, frozenset(), doubt)
    significance = _channels_first([_guessed_kind(i, len(axes)) if guessed else a.kind for i, a in enumerate(axes)])
    index = flat_index(sizes, significance)
    for i, axis in enumerate(axes):
        if axis.order is not None and axis.order.index is not None:
            index = np.take(index, axis.order.index, axis=i)
    return Axis(kind, order_or_none(index.reshape(-1), doubt), makers)


def flat_index(sizes: Sequence[int], significance: Sequence[int]) -> HostArray:
    """Position of each element of an array of ``sizes`` when its axes are counted in another order, slowest first."""
    counted = np.arange(math.prod(sizes)).reshape([sizes[i] for i in significance])
    return np.transpose(counted, np.argsort(significance))


def mixes(axes: Sequence[Axis], sizes: Sequence[int]) -> bool:
    """Whether merging these axes merges channels with positions."""
    kinds = {axis.kind for axis, size in zip(axes, sizes, strict=True) if size != 1}
    return {"channel", "spatial"} <= kinds


def split(axis: Axis, sizes: Sequence[int]) -> list[Axis]:
    """The axes that a reshape makes of one."""
    parts: list[frozenset[Part]] = [frozenset()] * len(sizes)
    if axis.makers:
        unflatten = Unflatten(axis.makers, tuple(sizes))
        parts = [frozenset({(unflatten, i)}) for i in range(len(sizes))]
    kinds: list[AxisKind] = [axis.kind] * len(sizes)
    if axis.order is not None:
        found = _kinds_of_split(axis.order, sizes)
        if found is None:
            reason = axis.order.doubt or "features in PyTorch's order are spread over axes that do not follow it"
            return [Axis(axis.kind, AxisOrder(None, reason), frozenset(), p, axis.doubt) for p in parts]
        kinds = found
    return [Axis(kind, None, frozenset(), p, axis.doubt) for kind, p in zip(kinds, parts, strict=True)]


def reshape(layout: Layout, before: Shape, after: Shape) -> Layout:
    """Layout behind ``reshape``: neighbours that multiply to the same number are merged and split."""
    if 0 in before or 0 in after:
        return plain(len(after))
    result = [Axis()] * len(after)
    i = j = 0
    mixed: list[int] = []
    outside = [a for a, n in zip(layout, before, strict=True) if n != 1 and a.kind == "spatial"]
    while i < len(before) or j < len(after):
        taken, given = [i] if i < len(before) else [], [j] if j < len(after) else []
        i, j = i + len(taken), j + len(given)
        while math.prod(before[k] for k in taken) != math.prod(after[k] for k in given):
            if math.prod(before[k] for k in taken) < math.prod(after[k] for k in given):
                taken.append(i)
                i += 1
            else:
                given.append(j)
                j += 1
        axes, sizes = [layout[k] for k in taken], [before[k] for k in taken]
        merged = merge(axes, sizes, with_batch=0 in taken and before[0] != 1)
        targets = [k for k in given if after[k] != 1]
        if mixes(axes, sizes):
            mixed += targets
            outside = [a for a in outside if all(a is not b for b in axes)]
        if len(targets) == 1:
            result[targets[0]] = merged
        elif targets:
            for k, axis in zip(targets, split(merged, [after[k] for k in targets]), strict=True):
                result[k] = axis
    if not mixed:
        return tuple(result)
    # PyTorch had to bring its axes into this order as well: from here on both lay the value out alike.
    behind = [dataclasses.replace(axis, kind="plain") if k not in mixed else axis for k, axis in enumerate(result)]
    if outside:
        doubt = "only some of the positions are merged with the channels, which fits PyTorch's order as well as Flax's"
        for k in mixed:
            order = behind[k].order
            if order is not None:
                behind[k] = dataclasses.replace(behind[k], order=AxisOrder(order.index, order.doubt or doubt))
    return tuple(behind)


def as_channels_first(
    layout: Layout, sizes: Shape, spatial: Sequence[int], channel: int
) -> tuple[Layout, list[tuple[Unflatten, AxisOrder | None]]]:
    """The layout of a value that is an image to PyTorch, and what its makers must do for that.

    Returns:
      the layout with its kinds set, and, for each reshape that spread a layer's features over these axes, the order
      in which PyTorch's layer makes them.
    """
    axes = [*spatial, channel]
    known = any(layout[k].kind != "plain" for k in axes if sizes[k] != 1)
    demands: list[tuple[Unflatten, AxisOrder | None]] = []
    if not known:
        positions: dict[Unflatten, dict[int, int]] = {}
        for k in axes:
            for unflatten, position in layout[k].parts:
                positions.setdefault(unflatten, {})[k] = position
        for unflatten, places in positions.items():
            wanted = [places[k] for k in (channel, *spatial) if k in places]
            unit = [p for p, n in enumerate(unflatten.sizes) if n == 1 and p not in wanted]
            if sorted([*wanted, *unit]) != list(range(len(unflatten.sizes))):
                doubt = "its output features are spread over an image and other axes"
                demands.append((unflatten, AxisOrder(None, doubt)))
            else:
                index = flat_index(unflatten.sizes, [*wanted, *unit]).reshape(-1)
                demands.append((unflatten, order_or_none(index)))
    result = list(layout)
    for k in spatial:
        result[k] = dataclasses.replace(layout[k], kind="spatial")
    result[channel] = dataclasses.replace(layout[channel], kind="channel")
    return tuple(result), demands


def _channels_first(kinds: Sequence[AxisKind]) -> list[int]:
    """Axes in PyTorch's order: channel axes change places with positions, plain ones stay where they are."""
    moved = [i for i, kind in enumerate(kinds) if kind != "plain"]
    in_order = iter(sorted(moved, key=lambda i: kinds[i] != "channel"))
    return [i if kind == "plain" else next(in_order) for i, kind in enumerate(kinds)]


def _guessed_kind(position: int, count: int) -> AxisKind:
    return "channel" if position == count - 1 else "spatial"


def _makers_of_parts(axes: Sequence[Axis]) -> frozenset[Path]:
    """Makers of merged features: those of a reshape that the merge takes back, otherwise nobody in particular."""
    whole = [[u for u, p in axis.parts if p == i and len(u.sizes) == len(axes)] for i, axis in enumerate(axes)]
    for unflatten in whole[0]:
        if unflatten.makers and all(any(u is unflatten for u in others) for others in whole):
            return unflatten.makers
    if any(axis.makers or any(u.makers for u, _ in axis.parts) for axis in axes):
        return frozenset({UNFOLLOWED})
    return frozenset()


def _kinds_of_split(order: AxisOrder, sizes: Sequence[int]) -> list[AxisKind] | None:
    if order.index is None or order.doubt:
        return None
    last = [_guessed_kind(i, len(sizes)) for i in range(len(sizes))]
    if np.array_equal(order.index, flat_index(sizes, _channels_first(last)).reshape(-1)):
        return last
    return None
