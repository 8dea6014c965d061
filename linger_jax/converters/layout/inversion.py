"""Running a layout conversion backwards."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from linger_jax.typing import HostArray


def inverted(to_flax: Callable[[HostArray], HostArray], torch_shape: tuple[int, ...], value: HostArray) -> HostArray:
    """The PyTorch tensor that a conversion makes ``value`` of.

    The conversion only moves elements: applied to their numbers it tells where each of them went.

    Args:
      to_flax: the conversion.
      torch_shape: shape of the tensor.
      value: the converted array.
    """
    result = np.zeros(torch_shape, value.dtype)
    put_back(to_flax, result, value)
    return result


def put_back(to_flax: Callable[[HostArray], HostArray], tensor: HostArray, value: HostArray) -> None:
    """The same where ``value`` is a part of the tensor: writes that part, in place."""
    count = tensor.size
    numbers = np.arange(count, dtype=np.int32 if count < 2**31 else np.int64).reshape(tensor.shape)
    tensor.reshape(-1)[to_flax(numbers).reshape(-1)] = value.reshape(-1)
