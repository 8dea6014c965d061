"""Modules of Flax Linen from below: interceptors, how methods are wrapped, lifted classes, filters, boxes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import flax.linen as nn
from flax.core.meta import AxisMetadata
from flax.core.scope import DenyList, in_filter, intersect_filters


def under_interceptors() -> bool:
    """Whether methods of modules are being intercepted in this thread; where Flax no longer tells, they may be."""
    return bool(getattr(nn.module, "_global_interceptor_stack", True))


def written_method(method: Callable[..., Any]) -> Callable[..., Any]:
    """The function that stands in the class body, of a method that Flax has wrapped."""
    return inspect.unwrap(method)


def intercepted_method(bound: Callable[..., Any]) -> Callable[..., Any] | None:
    """The function in the class body that an interceptor is about to run.

    Args:
      bound: ``orig_method`` of the interceptor's context.
    """
    # Flax wraps each method of a Module once; what it wraps is what the interceptor gets, bound to the module.
    return getattr(bound, "func", None)


def lifted_classes(module_type: type[nn.Module]) -> list[str]:
    """Names of the classes that transformations have put around a module's own, outermost first.

    ``nn.remat`` of a Dense is a ``CheckpointDense``, ``nn.scan`` of a Block a ``ScanBlock``.
    """
    return [c.__name__ for c in module_type.__mro__ if c.__module__ == nn.transforms.__name__]


def in_collections(collections: Any, name: str) -> bool:
    """Whether a collection is among those of a ``mutable`` filter."""
    return bool(in_filter(collections, name))


def without_collections(collections: Any, names: Iterable[str]) -> Any:
    """A ``mutable`` filter without some collections."""
    return intersect_filters(collections, DenyList(tuple(names)))


def unboxed(leaf: Any) -> Any:
    """A variable out of its box (``nn.Partitioned``), if it has one."""
    return leaf.unbox() if isinstance(leaf, AxisMetadata) else leaf


def boxed_like(box: Any, value: Any) -> Any:
    """A value in the box that another variable has, if it has one."""
    return box.replace_boxed(value) if isinstance(box, AxisMetadata) else value
