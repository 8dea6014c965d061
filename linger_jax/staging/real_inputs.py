"""Numbers of other types than float32 that enter a model or one of its layers.

Quantizers compute in float32, and an input is quantized by its value. Wider floats are cast when the model is called,
since they would make wider whatever they meet. All other types give way to float32 by JAX's own rules, and integers and
booleans may be indices or masks: they are cast where a layer takes them as numbers.
"""

from __future__ import annotations

import inspect
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

_FLOAT32 = np.dtype(np.float32)
_FLOAT64 = np.dtype(np.float64)


def narrowed(leaf: Any) -> Any:
    """A float64 array, or its shape and type, as float32; whatever else a call holds as it is."""
    if getattr(leaf, "dtype", None) != _FLOAT64:
        return leaf
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return leaf.update(dtype=_FLOAT32)
    return _cast(leaf)


def as_numbers(x: Any) -> Any:
    """What a layer computes with, as a float32 array: a real array of any type, or a list of numbers.

    Complex numbers stay what they are, for the plan to refuse; so does what is no array at all, for Flax to refuse.
    """
    if isinstance(x, (list, tuple, bool, int, float)):
        x = jnp.asarray(x)
    dtype = getattr(x, "dtype", None)
    if dtype is None or dtype == _FLOAT32:
        return x
    is_real = any(jnp.issubdtype(dtype, kind) for kind in (jnp.floating, jnp.integer, jnp.bool_))
    return _cast(x) if is_real else x


def are_float32(parameters: Any) -> bool:
    """Whether a layer of these parameters computes in float32, unless its input makes it another type."""
    return all(jnp.result_type(leaf) == _FLOAT32 for leaf in jax.tree.leaves(parameters))


def with_numbers(layer: type[nn.Module], call: inspect.BoundArguments) -> inspect.BoundArguments:
    """A call of a layer with its input, the first argument behind the module, by ``as_numbers``."""
    name = list(inspect.signature(layer.__call__).parameters)[1]
    if name in call.arguments:
        call.arguments[name] = as_numbers(call.arguments[name])
    return call


def _cast(x: Any) -> Any:
    if isinstance(x, np.ndarray | np.generic):
        with np.errstate(over="ignore"):  # beyond float32 a value saturates like an infinity
            return np.asarray(x).astype(_FLOAT32)
    return jnp.asarray(x, _FLOAT32)
