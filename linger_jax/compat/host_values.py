"""Arrays of JAX as arrays of NumPy."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import numpy.typing as npt
from jax.experimental import multihost_utils


def on_host(value: Any) -> npt.NDArray[Any]:
    """The whole of an array, where other processes hold parts of it too: all of them have to ask for it then."""
    if isinstance(value, jax.Array) and not (value.is_fully_addressable or value.is_fully_replicated):
        return np.asarray(multihost_utils.process_allgather(value, tiled=True))
    return np.asarray(value)
