"""Initial variables of a float model without the work of running it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.errors
import flax.linen as nn
import jax
import numpy as np


def float_variables(model: nn.Module, rngs: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], method: Any) -> Any:
    """What ``model.init`` gives, to the bit.

    ``init`` runs the whole model, operator by operator. Only shapes count for most models: those are traced, and
    nothing but the variables is computed. A model whose variables or control flow depend on its inputs' values runs.

    Args:
      model: the float model.
      rngs: as in ``nn.Module.init``.
      args, kwargs, method: the call.

    Returns:
      The model's collections.
    """
    shapes, named = jax.tree.map(_shape, (args, dict(kwargs)))
    try:
        return model.lazy_init(rngs, *shapes, method=method, **named)
    except (flax.errors.LazyInitError, jax.errors.JAXTypeError):
        return model.init(rngs, *args, method=method, **kwargs)


def _shape(value: Any) -> Any:
    """The shape of an array that shape and dtype describe; one of a weak type or with an explicit layout stays."""
    if not isinstance(value, (jax.Array, np.ndarray)) or jax.dtypes.issubdtype(value.dtype, jax.dtypes.extended):
        return value
    kind = jax.typeof(value)
    whole = kind == jax.typeof(np.empty(kind.shape, kind.dtype))
    return jax.ShapeDtypeStruct(kind.shape, kind.dtype) if whole else value
