"""Running a layout conversion backwards."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def inverted(to_flax: Callable[[Array], Array], torch_shape: tuple[int, ...], value: Array) -> Array:
    """The PyTorch tensor that a conversion makes ``value`` of.

    The conversion only moves elements: applied to their numbers it tells where each of them went.

    Args:
      to_flax: the conversion.
      torch_shape: shape of the tensor.
      value: the converted array.
    """
    count = math.prod(torch_shape)
    numbers = np.arange(count, dtype=np.int32 if count < 2**31 else np.int64).reshape(torch_shape)
    result = np.empty(count, value.dtype)
    result[to_flax(numbers).reshape(-1)] = value.reshape(-1)
    return result.reshape(torch_shape)
