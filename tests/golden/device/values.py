"""Arrays of a Flax model that know which of their axes is which in PyTorch: images travel channels last."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

Order = tuple[int, ...]


def channels_last(rank: int) -> Order:
    """PyTorch's axes in the order in which Flax keeps an image."""
    return (0, *range(2, rank), 1)


@dataclasses.dataclass(frozen=True)
class Laid:
    """One value.

    Attributes:
      array: a JAX array.
      order: which axis of PyTorch each axis of the array is.
      quantized: the value lies on a grid, so that an operator behind it is quantized.
    """

    array: Any
    order: Order
    quantized: bool = False

    @classmethod
    def plain(cls, array: Any, *, quantized: bool) -> Laid:
        """A value whose axes stand as in PyTorch."""
        return cls(array, tuple(range(array.ndim)), quantized)

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.order)

    def axis(self, torch_axis: int) -> int:
        """Where an axis of PyTorch stands in the array."""
        return self.order.index(torch_axis % self.rank)

    def ordered(self, order: Order) -> Laid:
        """The same value with its axes in another order."""
        if order == self.order:
            return self
        return Laid(jnp.transpose(self.array, [self.order.index(axis) for axis in order]), order, self.quantized)

    def as_image(self) -> Laid:
        """Channels last."""
        return self.ordered(channels_last(self.rank))

    def as_torch(self) -> Laid:
        """Axes as in PyTorch."""
        return self.ordered(tuple(range(self.rank)))

    def map(self, function: Callable[[Any], Any], *, quantized: bool | None = None) -> Laid:
        """An operation that leaves the axes where they are."""
        return Laid(function(self.array), self.order, self.quantized if quantized is None else quantized)


def together(values: Sequence[Laid]) -> list[Laid]:
    """Values of one order: the first one's, or PyTorch's where their ranks differ."""
    if len({value.rank for value in values}) == 1:
        return [value.ordered(values[0].order) for value in values]
    return [value.as_torch() for value in values]


# --- axes that come, go and move ---


def reshape(value: Laid, shape: Sequence[int]) -> Laid:
    """``torch.reshape``, which counts elements in PyTorch's order."""
    value = value.as_torch()
    return Laid.plain(jnp.reshape(value.array, tuple(shape)), quantized=value.quantized)


def flatten(value: Laid, start: int, *, as_it_lies: bool) -> Laid:
    """``torch.flatten`` from an axis on; ``as_it_lies`` as Flax code does it, where the features' order is free."""
    value = value if as_it_lies and start == 1 and value.order[0] == 0 else value.as_torch()
    shape = value.array.shape
    flat = jnp.reshape(value.array, (*shape[:start], -1))
    return Laid.plain(flat, quantized=value.quantized)


def permute(value: Laid, dims: Sequence[int]) -> Laid:
    """``torch.permute``; an image keeps its array and changes the meaning of its axes."""
    dims = [axis % value.rank for axis in dims]
    moved = Laid(value.array, tuple(dims.index(axis) for axis in value.order), value.quantized)
    return moved.as_torch() if value.order == tuple(range(value.rank)) else moved


def transpose(value: Laid, one: int, other: int) -> Laid:
    """``torch.transpose``."""
    dims = list(range(value.rank))
    one, other = one % value.rank, other % value.rank
    dims[one], dims[other] = other, one
    return permute(value, dims)


def squeeze(value: Laid, torch_axis: int | None) -> Laid:
    """``torch.squeeze`` of one axis, or of all of length one."""
    lengths = {axis: value.array.shape[i] for i, axis in enumerate(value.order)}
    asked = lengths if torch_axis is None else [torch_axis % value.rank]
    gone = {axis for axis in asked if lengths[axis] == 1}
    array = jnp.squeeze(value.array, tuple(value.order.index(axis) for axis in gone))
    return Laid(array, _renumbered([axis for axis in value.order if axis not in gone]), value.quantized)


def unsqueeze(value: Laid, torch_axis: int) -> Laid:
    """``torch.unsqueeze``."""
    value = value.as_torch()
    return Laid.plain(jnp.expand_dims(value.array, torch_axis), quantized=value.quantized)


def select(value: Laid, torch_axis: int, index: int) -> Laid:
    """``torch.select``: one entry of an axis, which goes away."""
    axis = value.axis(torch_axis)
    array = value.array[(slice(None),) * axis + (index,)]
    return Laid(array, _renumbered([a for i, a in enumerate(value.order) if i != axis]), value.quantized)


def split(value: Laid, sizes: int | Sequence[int], torch_axis: int) -> list[Laid]:
    """``torch.split``: pieces of one size (the last may be smaller), or of the sizes given."""
    axis = value.axis(torch_axis)
    length = value.array.shape[axis]
    if isinstance(sizes, int):
        sizes = [min(sizes, length - start) for start in range(0, length, sizes)]
    pieces, start = [], 0
    for size in sizes:
        piece = jax.lax.slice_in_dim(value.array, start, start + size, axis=axis)
        pieces.append(Laid(piece, value.order, value.quantized))
        start += size
    return pieces


def pad(value: Laid, amounts: Sequence[int]) -> Laid:
    """``torch.nn.functional.pad`` with zeros: pairs from the last axis backwards."""
    around = [(0, 0)] * value.rank
    for i in range(len(amounts) // 2):
        around[value.axis(-1 - i)] = (amounts[2 * i], amounts[2 * i + 1])
    return value.map(lambda array: jnp.pad(array, around))


def _renumbered(order: Sequence[int]) -> Order:
    ranks = {axis: i for i, axis in enumerate(sorted(order))}
    return tuple(ranks[axis] for axis in order)
