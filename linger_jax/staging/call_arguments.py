"""A call of the model, split into what JAX traces and what stays a Python value."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from linger_jax.quantizers import QTensor

Leaf = Any


def _is_array(leaf: Leaf) -> bool:
    return isinstance(leaf, (jax.Array, np.ndarray, jax.ShapeDtypeStruct, np.generic, QTensor))


@dataclasses.dataclass(frozen=True)
class Call:
    """The static half of ``model.apply(variables, *args, rngs=..., **kwargs)``.

    Python numbers, booleans, strings and None stay static, exactly as Flax modules treat them (``train=True``); arrays
    are traced. Two equal calls stage to the same jaxpr for arrays of the same shapes. A call is hashable if its static
    leaves are.

    Attributes:
      treedef: structure of ``(args, kwargs, rngs)``.
      static: leaf of each position, or ``DYNAMIC`` where an array goes.
      distinctions: what tells leaves apart that Python takes for equal: ``True`` and ``1``, ``0.0`` and ``-0.0``.
      method: the model's method, or None for ``__call__``.
      mutable: collections the model itself may write: names, or a Flax filter.
    """

    treedef: Any
    static: tuple[Leaf, ...]
    distinctions: tuple[tuple[type, str], ...]
    method: Callable[..., Any] | str | None
    mutable: Any

    def model_mutable(self) -> Any:
        """The filter as Flax takes it."""
        return list(self.mutable) if isinstance(self.mutable, tuple) else self.mutable

    def merge(self, arrays: list[Any]) -> tuple[tuple[Any, ...], dict[str, Any], Any]:
        """Puts the traced arrays back: ``(args, kwargs, rngs)``."""
        rest = iter(arrays)
        leaves = [next(rest) if leaf is DYNAMIC else leaf for leaf in self.static]
        args, kwargs, rngs = jax.tree.unflatten(self.treedef, leaves)
        return args, kwargs, rngs


class _Dynamic:
    def __repr__(self) -> str:
        return "<array>"


DYNAMIC = _Dynamic()


def split_call(
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    rngs: Any,
    method: Callable[..., Any] | str | None,
    mutable: Any,
) -> tuple[Call, list[Any]]:
    """Returns the static half of a call and its arrays, in order."""
    leaves, treedef = jax.tree.flatten((args, dict(kwargs), rngs), is_leaf=lambda leaf: isinstance(leaf, QTensor))
    static = tuple(DYNAMIC if _is_array(leaf) else leaf for leaf in leaves)
    distinctions = tuple((type(leaf), repr(leaf) if isinstance(leaf, float) else "") for leaf in static)
    arrays = [leaf for leaf in leaves if _is_array(leaf)]
    return Call(treedef, static, distinctions, method, mutable), arrays
