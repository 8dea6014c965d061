"""Standard operators that a quantized tensor passes through unchanged, and rectifiers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.export.runner.integer_tensor import Array, IntegerTensor, Value
from linger_jax.export.runner.operators.node_call import Call, RunRule
from linger_jax.kinds import OnnxOperator
from linger_jax.kinds import onnx_operators as ops


def _passing(function: Callable[[Call, Array], Array]) -> RunRule:
    """The rule of an operator that moves the values of its first input about."""

    def rule(call: Call) -> Sequence[Value]:
        x = call.optional(0)
        if isinstance(x, IntegerTensor):
            return [x.holds(function(call, x.value))]
        return [function(call, call.plain(0))]

    return rule


def _reshape(call: Call, x: Array) -> Array:
    shape = [int(v) for v in _integers(call, "shape", 1)]
    return x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(shape)])


def _flatten(call: Call, x: Array) -> Array:
    axis = call.node.integer("axis", 1) % (x.ndim + 1)
    return x.reshape(int(np.prod(x.shape[:axis])), -1)


def _transpose(call: Call, x: Array) -> Array:
    return x.transpose(call.node.integers("perm", tuple(reversed(range(x.ndim)))))


def _squeeze(call: Call, x: Array) -> Array:
    axes = _integers(call, "axes", 1, default=tuple(i for i, size in enumerate(x.shape) if size == 1))
    return jnp.squeeze(x, tuple(axes))


def _unsqueeze(call: Call, x: Array) -> Array:
    return jnp.expand_dims(x, tuple(_integers(call, "axes", 1)))


def gather(call: Call) -> Sequence[Value]:
    """``Gather``; with ``scale_o``, which executors read, its integers lie on that grid.

    Indices outside are an error of the file that shows in no result: ONNX leaves them undefined.
    """
    x = call.optional(0)
    value = x.value if isinstance(x, IntegerTensor) else call.plain(0)
    picked = jnp.take(value, call.indices(1), axis=call.node.integer("axis", 0), mode="wrap")
    if "scale_o" in call.node.attributes:
        bits = x.bits if isinstance(x, IntegerTensor) else 8 * np.dtype(value.dtype).itemsize
        return [IntegerTensor(picked.astype(jnp.int32), call.node.scale("scale_o"), bits)]
    return [x.holds(picked) if isinstance(x, IntegerTensor) else picked]


def _slice(call: Call, x: Array) -> Array:
    starts, ends = _integers(call, "starts", 1), _integers(call, "ends", 2)
    axes = _integers(call, "axes", 3, default=tuple(range(len(starts))))
    steps = _integers(call, "steps", 4, default=(1,) * len(starts))
    index: list[Any] = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        # An end of -2^63 or so with a negative step means "past the first".
        index[axis] = slice(start, None if step < 0 and end < -x.shape[axis] else end, step)
    return x[tuple(index)]


def _expand(call: Call, x: Array) -> Array:
    return jnp.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(_integers(call, "shape", 1))))


def _tile(call: Call, x: Array) -> Array:
    return jnp.tile(x, tuple(_integers(call, "repeats", 1)))


def _identity(call: Call, x: Array) -> Array:
    del call
    return x


def _relu(call: Call, x: Array) -> Array:
    del call
    return jnp.maximum(x, jnp.zeros((), x.dtype))


def pad(call: Call) -> Sequence[Value]:
    """``Pad`` with a constant, which must lie on a quantized tensor's grid."""
    x = call.optional(0)
    if call.node.attributes.get("mode", "constant") != "constant":
        raise call.error("only mode constant is supported")
    amounts = _integers(call, "pads", 1)
    given = call.constant(2)
    fill = float(call.node.attributes.get("value", 0.0)) if given is None else float(given)
    value = x.value if isinstance(x, IntegerTensor) else call.plain(0)
    if isinstance(x, IntegerTensor):
        fill *= x.scale
        if fill != int(fill):
            raise call.error(f"{fill / x.scale} does not lie on the grid of scale {x.scale}")
    config = [(int(b), int(e), 0) for b, e in zip(amounts[: value.ndim], amounts[value.ndim :], strict=True)]
    y = lax.pad(value, jnp.asarray(fill).astype(value.dtype), config)
    return [x.holds(y) if isinstance(x, IntegerTensor) else y]


def clip(call: Call) -> Sequence[Value]:
    """``Clip`` with bounds in real units."""
    x = call.optional(0)
    least, most = call.constant(1), call.constant(2)
    low = float(call.node.attributes.get("min", -np.inf)) if least is None else float(least)
    high = float(call.node.attributes.get("max", np.inf)) if most is None else float(most)
    if not isinstance(x, IntegerTensor):
        return [jnp.clip(call.plain(0), jnp.float32(low), jnp.float32(high))]
    bounds = np.iinfo(np.int32)
    steps = [int(np.clip(np.floor(v * x.scale + 0.5), bounds.min, bounds.max)) for v in (low, high)]
    return [x.holds(jnp.clip(x.value, jnp.int32(steps[0]), jnp.int32(steps[1])))]


def split(call: Call) -> Sequence[Value]:
    """``Split`` along an axis, in equal parts where no sizes are given."""
    x = call.optional(0)
    value = x.value if isinstance(x, IntegerTensor) else call.plain(0)
    axis = call.node.integer("axis", 0) % value.ndim
    count = len(call.node.outputs)
    sizes = _integers(call, "split", 1, default=(value.shape[axis] // count,) * count)
    parts = jnp.split(value, np.cumsum(sizes)[:-1].tolist(), axis)
    return [x.holds(part) if isinstance(x, IntegerTensor) else part for part in parts]


def index_of_largest(call: Call) -> Sequence[Value]:
    """``ArgMax``: the first of equals."""
    x = call.optional(0)
    value = x.value if isinstance(x, IntegerTensor) else call.plain(0)
    if call.node.integer("select_last_index", 0):
        raise call.error("only the first of equals is supported")
    axis, keep = call.node.integer("axis", 0), bool(call.node.integer("keepdims", 1))
    return [jnp.argmax(value, axis, keepdims=keep).astype(jnp.int32)]


def join_floats(call: Call) -> Sequence[Value]:
    """``Concat`` of floats, for example of the final states of both directions."""
    parts = [call.plain(i) for i in range(len(call.operands))]
    return [lax.concatenate(parts, call.node.integer("axis") % parts[0].ndim)]


def _integers(call: Call, name: str, position: int, default: Sequence[int] | None = None) -> Sequence[int]:
    """Sizes or axes: an attribute in older opsets, a constant input in newer ones."""
    if name in call.node.attributes:
        return call.node.integers(name)
    constant = call.constant(position)
    if constant is not None:
        return [int(v) for v in np.ravel(constant)]
    if default is None:
        raise call.error(f"{name} is missing")
    return default


RULES: Mapping[OnnxOperator, RunRule] = {
    ops.RELU: _passing(_relu),
    ops.RESHAPE: _passing(_reshape),
    ops.FLATTEN: _passing(_flatten),
    ops.TRANSPOSE: _passing(_transpose),
    ops.SQUEEZE: _passing(_squeeze),
    ops.QUANTIZED_SQUEEZE: _passing(_squeeze),
    ops.UNSQUEEZE: _passing(_unsqueeze),
    ops.GATHER: gather,
    ops.SLICE: _passing(_slice),
    ops.EXPAND: _passing(_expand),
    ops.TILE: _passing(_tile),
    ops.IDENTITY: _passing(_identity),
    ops.PAD: pad,
    ops.CLIP: clip,
    ops.SPLIT: split,
    ops.CONCAT: join_floats,
    ops.ARG_MAX: index_of_largest,
}
