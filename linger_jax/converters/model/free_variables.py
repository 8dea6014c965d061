"""Variables that belong to no layer: embeddings of positions, class tokens, scales, products written by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from linger_jax.converters.layout import AxisOrder
from linger_jax.typing import HostArray, Shape

Conversion = tuple[Callable[[HostArray], HostArray], str]


def free_conversion(
    key: str, shape: Shape, flax_shape: Shape, *, product: bool = False, order: AxisOrder | None = None
) -> Conversion | None:
    """How a tensor becomes a free variable, and that in words; None where it does not fit.

    Args:
      key: of the tensor; ``...weight`` of a product is that of a linear layer, stored ``[out, in]``.
      shape: of the tensor.
      flax_shape: of the variable.
      product: the variable is the right factor of a matrix product.
      order: of the features that the variable's last axis is combined with.
    """
    found = _layout(key, shape, flax_shape, product)
    if found is None:
        return None
    convert, text = found
    if order is None or order.index is None:
        return convert, text
    index = order.index
    return (lambda array: np.take(convert(array), index, axis=-1)), f"{text}, from (C, H, W) order"


def fits(shape: Shape, flax_shape: Shape) -> bool:
    """Whether a tensor can become a free variable at all."""
    return _layout("", shape, flax_shape, product=False) is not None


def _layout(key: str, shape: Shape, flax_shape: Shape, product: bool) -> Conversion | None:
    turned = shape == flax_shape[::-1]
    if product and turned and (key.rpartition(".")[2] == "weight" or shape != flax_shape):
        return np.transpose, "[out, in] -> [in, out]"
    if len(shape) == 4 and shape == (flax_shape[:1] + flax_shape[-1:] + flax_shape[1:-1]) and len(flax_shape) == 4:
        return (lambda array: np.moveaxis(array, 1, -1)), "NCHW -> NHWC"
    if shape == flax_shape:
        return (lambda array: array), "as is"
    if len([n for n in shape if n != 1]) <= 1 and [n for n in shape if n != 1] == [n for n in flax_shape if n != 1]:
        return (lambda array: array.reshape(flax_shape)), f"reshape to {flax_shape}"
    return None
