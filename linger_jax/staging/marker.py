"""The marker primitives that a staged jaxpr carries.

``layer_p`` stands for one whole layer: its operands are the layer's arrays, its parameters say what the layer is and
hold the layer's own float jaxpr, so that evaluating the marker without us *is* the float layer. ``scope_p`` has no
operands and brackets the body of a module that is not a layer; ``lost_p`` records that differentiation inside the model
dissolved a layer before the plan could see it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from linger_jax.compat import ClosedJaxpr, as_function, new_primitive
from linger_jax.kinds import LayerKind
from linger_jax.typing import Path


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class LayerInfo:
    """What one marker stands for.

    Attributes:
      kind: what is known of layers like it.
      type_name: name of the module's class, for messages.
      module_type: the module's class, for ``disable_module``.
      path: module path as the user sees it.
      attributes: static attributes that the layer's rules read.
      operands: role of each operand: ``("input", "0")`` or ``(collection, *entry path)``.
      results: role of each result: ``("output", "0")`` or ``(collection, *entry path)`` for an updated variable.
      visit: number of the module call that bound the marker, never given twice in a process.
      refusal: why this layer cannot be quantized whatever the configuration says, or None.
      inside: path and class of the modules that the layer is made of (the cells of a recurrent layer).
    """

    kind: LayerKind
    type_name: str
    module_type: type
    path: Path
    attributes: Mapping[str, Any]
    operands: tuple[Path, ...]
    results: tuple[Path, ...]
    visit: int
    refusal: str | None = None
    inside: tuple[tuple[Path, type], ...] = ()

    def __repr__(self) -> str:
        return f"{self.kind.name}:{'.'.join(self.path) or '<root>'}"


def _run_float(*operands: Any, jaxpr: ClosedJaxpr, info: LayerInfo) -> list[Any]:
    del info
    return list(as_function(jaxpr)(*operands))


def _layer_jvp(primals: Sequence[Any], tangents: Sequence[Any], *, jaxpr: ClosedJaxpr, info: LayerInfo) -> Any:
    lost_p.bind(info=info, transformation="forward differentiation (jvp, linearize, grad inside the model)")
    return jax.jvp(as_function(jaxpr), tuple(primals), tuple(tangents))


def _layer_batch(operands: Sequence[Any], axes: Sequence[int | None], *, jaxpr: ClosedJaxpr, info: LayerInfo) -> Any:
    """``vmap`` of a layer: again one layer, with the mapped jaxpr; float where it stands for several layers at once."""
    # In front, where the rules of layers expect further batch axes.
    operands = [x if axis is None else jnp.moveaxis(x, axis, 0) for x, axis in zip(operands, axes, strict=True)]
    in_axes = tuple(None if axis is None else 0 for axis in axes)
    mapped = jax.make_jaxpr(jax.vmap(as_function(jaxpr), in_axes=in_axes))(*operands)
    if not info.kind.batchable or any(
        axis is not None and role[0] != "input" for axis, role in zip(in_axes, info.operands, strict=True)
    ):
        info = dataclasses.replace(info, refusal="inside vmap: one call stands for several layers")
    results = layer_p.bind(*operands, jaxpr=mapped, info=info)
    return results, [0] * len(results)


def _result_types(*_: Any, jaxpr: ClosedJaxpr, info: LayerInfo) -> list[Any]:
    del info
    return list(jaxpr.out_avals)


def _nothing(**_: Any) -> list[Any]:
    return []


layer_p = new_primitive("linger_layer", _run_float, _result_types, jvp=_layer_jvp, batch=_layer_batch)
scope_p = new_primitive("linger_scope", _nothing, _nothing)
lost_p = new_primitive("linger_lost_layer", _nothing, _nothing)
