"""Steps that pick values by indices that are known: look-ups, slices at computed places, repetitions."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from linger_jax.export.lower.exported_values import ExportedValue, HostValue, TensorValue, flax_order
from linger_jax.export.lower.lower_weighted import reshaped
from linger_jax.export.lower.lowering_step import LoweringStep
from linger_jax.kinds import onnx_operators as ops
from linger_jax.typing import HostArray

_MOST_VALUES = 2**24
"""float32 numbers the values of an array exactly up to here."""


def selected(step: LoweringStep, value: TensorValue) -> Sequence[ExportedValue]:
    """``Gather`` nodes for a step that moves values of its first operand to places that the other operands say.

    The step is run on the numbers of the values, which shows where each comes from.

    Raises:
      ExportError: the places depend on the model's input, or a result is no value of the operand.
    """
    others = [operand for operand in step.operands[1:] if isinstance(operand, HostValue)]
    primitive = step.node.primitive
    if len(others) != len(step.operands) - 1:
        raise step.error(
            f"the model's input decides what {primitive} picks, and a file has no form for that; pick by numbers that "
            "are known before the call, or outside the exported model"
        )
    size = int(np.prod(value.shape))
    if size >= _MOST_VALUES or step.node.run is None:
        raise step.error(f"{primitive} of {size} values has no form in a file")
    numbers = np.arange(size, dtype=np.float32).reshape(value.shape)
    arrays = [jax.numpy.asarray(v) for v in (numbers, *(o.array for o in others))]
    results = [np.asarray(r) for r in step.node.run(*arrays)]
    if len(results) != 1 or not np.all((results[0] >= 0) & (results[0] < size)):
        raise step.error(
            f"{primitive} reaches outside of its operand; a file has no form for the values that it fills in"
        )
    return [_looked_up(step, value, results[0].astype(np.int64))]


def _looked_up(step: LoweringStep, value: TensorValue, sources: HostArray) -> TensorValue:
    """The values at flat positions ``sources``."""
    if sources.shape == value.shape and np.array_equal(sources.reshape(-1), np.arange(sources.size)):
        return value
    along = _along_axes(value.shape, sources)
    if along is None:
        flat = value if value.rank == 1 else reshaped(step, value, (int(np.prod(value.shape)),))
        return _gather(step, flat, 0, sources)
    for axis, indices in enumerate(along):
        if not np.array_equal(indices, np.arange(value.shape[axis])):
            value = _gather(step, value, axis, indices)
    return value if value.shape == sources.shape else reshaped(step, value, sources.shape)


def _along_axes(shape: tuple[int, ...], sources: HostArray) -> list[HostArray] | None:
    """Indices along each axis, where the result is their grid (perhaps with axes of length one more or less)."""
    if not sources.size:
        return None
    coordinates = np.unravel_index(sources.reshape(-1), shape)
    along = [np.array(list(dict.fromkeys(c.tolist())), np.int64) for c in coordinates]
    if np.prod([a.size for a in along]) != sources.size:
        along = [_period(c) for c in coordinates]
    grid = np.ravel_multi_index(np.meshgrid(*along, indexing="ij"), shape) if along else sources
    lengths = [n for n in grid.shape if n != 1]
    if grid.size != sources.size or lengths != [n for n in sources.shape if n != 1]:
        return None
    return along if np.array_equal(grid.reshape(-1), sources.reshape(-1)) else None


def _period(coordinate: HostArray) -> HostArray:
    """A coordinate of a grid in row-major order, with repetitions: constant runs, then the whole again."""
    changes = np.flatnonzero(np.diff(coordinate)) + 1
    run = int(np.gcd.reduce([*changes.tolist(), coordinate.size])) if changes.size else coordinate.size
    heads = coordinate[::run]
    for length in range(1, heads.size + 1):
        if heads.size % length == 0 and np.array_equal(np.tile(heads[:length], heads.size // length), heads):
            return heads[:length].astype(np.int64)
    return heads.astype(np.int64)


def _gather(step: LoweringStep, value: TensorValue, axis: int, indices: HostArray) -> TensorValue:
    """One ``Gather``; indices of one axis, or of any shape into a flat value."""
    name = "indices_" + "_".join(map(str, indices.reshape(-1)[:8]))
    constant = step.emit.graph.constant(name, indices.astype(np.int64))
    attributes = {"axis": value.position(axis)}
    if value.rank == 1:
        shape = indices.shape
        return step.emit.moved(ops.GATHER, value, attributes, [constant], shape=shape, axes=flax_order(len(shape)))
    shape = (*value.shape[:axis], indices.size, *value.shape[axis + 1 :])
    return step.emit.moved(ops.GATHER, value, attributes, [constant], shape=shape)
