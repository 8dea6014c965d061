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
from jax.extend.core import ClosedJaxpr, Primitive, jaxpr_as_fun
from jax.interpreters import ad, batching, mlir

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


layer_p = Primitive("linger_layer")
layer_p.multiple_results = True
scope_p = Primitive("linger_scope")
scope_p.multiple_results = True
lost_p = Primitive("linger_lost_layer")
lost_p.multiple_results = True


def _run_float(*operands: Any, jaxpr: ClosedJaxpr, info: LayerInfo) -> list[Any]:
    del info
    return list(jaxpr_as_fun(jaxpr)(*operands))


def _layer_jvp(primals: Sequence[Any], tangents: Sequence[Any], *, jaxpr: ClosedJaxpr, info: LayerInfo) -> Any:
    lost_p.bind(info=info, transformation="forward differentiation (jvp, linearize, grad inside the model)")
    tangents = [ad.instantiate_zeros(t) for t in tangents]
    return jax.jvp(jaxpr_as_fun(jaxpr), tuple(primals), tuple(tangents))


def _layer_batch(operands: Sequence[Any], dims: Sequence[Any], *, jaxpr: ClosedJaxpr, info: LayerInfo) -> Any:
    """``vmap`` of a layer: again one layer, with the mapped jaxpr; float where it stands for several layers at once."""
    # In front, where the rules of layers expect further batch axes.
    operands = [jnp.moveaxis(x, d, 0) if isinstance(d, int) else x for x, d in zip(operands, dims, strict=True)]
    in_axes = tuple(0 if isinstance(d, int) else None for d in dims)
    mapped = jax.make_jaxpr(jax.vmap(jaxpr_as_fun(jaxpr), in_axes=in_axes))(*operands)
    if not info.kind.batchable or any(
        axis is not None and role[0] != "input" for axis, role in zip(in_axes, info.operands, strict=True)
    ):
        info = dataclasses.replace(info, refusal="inside vmap: one call stands for several layers")
    results = layer_p.bind(*operands, jaxpr=mapped, info=info)
    return results, [0] * len(results)


layer_p.def_impl(_run_float)
layer_p.def_abstract_eval(lambda *_, jaxpr, info: jaxpr.out_avals)
mlir.register_lowering(layer_p, mlir.lower_fun(_run_float, multiple_results=True))
ad.primitive_jvps[layer_p] = _layer_jvp
batching.primitive_batchers[layer_p] = _layer_batch

for _note in (scope_p, lost_p):
    _note.def_impl(lambda **_: [])
    _note.def_abstract_eval(lambda **_: [])
    mlir.register_lowering(_note, mlir.lower_fun(lambda **_: [], multiple_results=True))
