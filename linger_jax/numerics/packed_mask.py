"""Boolean masks kept for the backward pass at one bit per element.

What a backward pass needs of an activation is often only a mask: where a quantizer did not saturate, where a ReLU was
open. XLA keeps no boolean for it: comparing again is cheap, so the compiler keeps the float32 operand alive instead,
thirty-two times as large, and memory never touched before is what costs most of a training step's time on CPU. A
reduction is what the compiler does not repeat: packing eight elements into a byte by one makes the mask what is kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

SMALLEST = 2**16
"""Elements from which packing pays."""

_BITS = np.left_shift(1, np.arange(8)).astype(np.uint8)


def pack(mask: jax.Array) -> jax.Array:
    """One bit per element of a mask.

    Eight neighbours along an inner axis share a byte: not the first axis, which data parallel training splits over
    devices, and not the last one, where neighbours would have to be shuffled inside a vector register.

    Args:
      mask: bool array of any shape.

    Returns:
      uint8 array, an eighth of ``mask``'s length along one axis; ``mask`` itself where it is small or no inner axis is
      a multiple of eight.
    """
    axis = _axis(mask.shape)
    if axis is None:
        return mask
    by_byte = mask.reshape(_split(mask.shape, axis))
    bits = lax.broadcast_in_dim(_BITS, by_byte.shape, (axis + 1,))
    return lax.reduce_or(lax.select(by_byte, bits, jnp.zeros_like(bits)), (axis + 1,))


def unpack(packed: jax.Array, shape: Sequence[int]) -> jax.Array:
    """The mask of this shape that ``pack`` was given: bool array."""
    axis = _axis(shape)
    if axis is None:
        return packed
    split = _split(shape, axis)
    repeated = lax.broadcast_in_dim(packed, split, [a for a in range(len(split)) if a != axis + 1])
    bits = lax.broadcast_in_dim(_BITS, split, (axis + 1,))
    return ((repeated & bits) != np.uint8(0)).reshape(shape)


@jax.custom_vjp
def relu(x: jax.Array) -> jax.Array:
    """max(x, 0), keeping a packed mask for the gradient, which is that of ``jax.nn.relu`` (0 at 0).

    Args:
      x: float array of any shape.

    Returns:
      Array of ``x``'s shape and dtype; NaN stays NaN.
    """
    return lax.max(x, jnp.zeros_like(x))


def _relu_forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return relu(x), pack(x > np.zeros((), x.dtype))


def _relu_backward(open_: jax.Array, g: jax.Array) -> tuple[jax.Array]:
    return (lax.select(unpack(open_, g.shape), g, jnp.zeros_like(g)),)


relu.defvjp(_relu_forward, _relu_backward)


def _axis(shape: Sequence[int]) -> int | None:
    """The innermost axis to pack along, first and last excluded."""
    if np.prod(shape, dtype=np.int64) < SMALLEST:
        return None
    return next((axis for axis in range(len(shape) - 2, 0, -1) if shape[axis] % 8 == 0), None)


def _split(shape: Sequence[int], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], shape[axis] // 8, 8, *shape[axis + 1 :])
