"""How Flax Linen layers become markers: one interceptor for one run of the model."""

from __future__ import annotations

import contextlib
import inspect
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from linger_jax.compat import user_context
from linger_jax.kinds import DROPOUT, FOLDED_NORM
from linger_jax.staging.folded_norms import NOTHING_FOLDED, FoldedNorms
from linger_jax.staging.layer_kinds import FLOAT_COMPOSITES, LAYERS, defining_class
from linger_jax.staging.marker import LayerInfo, layer_p, scope_p
from linger_jax.staging.real_inputs import are_float32, with_numbers
from linger_jax.staging.recurrent_calls import RECURRENT_LAYERS, RecurrentCall, recurrent_call, recurrent_info
from linger_jax.typing import Path

# Part of jax.jit's cache key. nn.jit keeps traces between calls: one that was made without markers, or for another
# module of equal attributes, must not be used in their place.
_staging_context = user_context(None)
_visits = itertools.count()


class Interceptor:
    """Binds markers around the modules of one run of the model; not shared between runs or threads.

    Attributes:
      visits: number of each module call so far that bound a marker.
    """

    def __init__(self, changed_context: Callable[[], None], folded: FoldedNorms = NOTHING_FOLDED) -> None:
        self.visits: set[int] = set()
        self._folded = folded
        self._inside_layer = False
        self._changed_context = changed_context

    def __call__(self, next_fun: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        """Runs one method of a module: a layer becomes one marker, anything else runs between two scope markers."""
        module: nn.Module = context.module
        if self._inside_layer or context.method_name == "setup":
            return next_fun(*args, **kwargs)
        visit = next(_visits)
        self.visits.add(visit)
        self._changed_context()
        layer = defining_class(context.orig_method, LAYERS)
        if layer is not None:
            if layer is nn.BatchNorm and module.path in self._folded.norms:
                return _folded_norm(module, visit, args, kwargs)
            return self._layer(module, layer, visit, args, kwargs)
        recurrent = defining_class(context.orig_method, RECURRENT_LAYERS)
        found = recurrent_call(recurrent, module, args, kwargs) if recurrent is not None else None
        if isinstance(found, RecurrentCall):
            return self._recurrent(found, visit)
        composite = defining_class(context.orig_method, FLOAT_COMPOSITES)
        scope = {
            "path": module.path,
            "method": context.method_name,
            "module_type": type(module),
            "composite": FLOAT_COMPOSITES[composite] if composite else found,
            "visit": visit,
        }
        scope_p.bind(enter=True, **scope)
        try:
            return next_fun(*args, **kwargs)
        finally:
            scope_p.bind(enter=False, **scope)
            self._changed_context()

    def _layer(self, module: nn.Module, layer: type[nn.Module], visit: int, args: Any, kwargs: Any) -> Any:
        kind, describe = LAYERS[layer]
        call = inspect.signature(layer.__call__).bind(module, *args, **kwargs)
        variables = {c: v for c, v in module.variables.items() if jax.tree.leaves(v)}
        if kind.quantizers and not kind.looks_up and are_float32(variables.get("params", {})):
            call = with_numbers(layer, call)
            args, kwargs = call.args[1:], call.kwargs
        if kind == DROPOUT and call.arguments.get("rng") is None:
            deterministic = nn.merge_param("deterministic", module.deterministic, call.arguments.get("deterministic"))
            if module.rate > 0.0 and not deterministic:
                # Drawn here, in the model's own scope, so that the mask is the float model's mask.
                kwargs = {**kwargs, "rng": module.make_rng(module.rng_collection)}
        attributes, refusal = describe(module, call)

        scope = module.scope
        assert scope is not None, "an intercepted module is bound"
        mutable = [c for c in variables if c != "params" and scope.is_mutable_collection(c)]
        leaves, treedef = jax.tree.flatten((args, kwargs))
        is_array = [isinstance(leaf, (jax.Array, np.ndarray)) for leaf in leaves]
        inputs = [leaf for leaf, dynamic in zip(leaves, is_array, strict=True) if dynamic]
        variable_leaves, variable_tree = jax.tree_util.tree_flatten_with_path(variables)
        changes = {"use_bias": True} if module.path in self._folded.convs else {}
        clone = module.clone(parent=None, **changes)

        def pure(inputs: list[Any], values: list[Any]) -> Any:
            rest = iter(inputs)
            merged = [next(rest) if dynamic else leaf for leaf, dynamic in zip(leaves, is_array, strict=True)]
            layer_args, layer_kwargs = jax.tree.unflatten(treedef, merged)
            collections = jax.tree.unflatten(variable_tree, values)
            return clone.apply(collections, *layer_args, mutable=mutable, method=layer.__call__, **layer_kwargs)

        values = [leaf for _, leaf in variable_leaves]
        closed, shapes = self._traced(pure, inputs, values)

        result_leaves, result_tree = jax.tree_util.tree_flatten_with_path(shapes)
        info = LayerInfo(
            kind=kind,
            type_name=type(module).__name__,
            module_type=type(module),
            path=module.path,
            attributes=attributes,
            operands=(
                *(("input", str(i)) for i in range(len(inputs))),
                *(entry_path(path) for path, _ in variable_leaves),
            ),
            results=tuple(
                ("output", str(i)) if path[0].idx == 0 else entry_path(path[1:])
                for i, (path, _) in enumerate(result_leaves)
            ),
            visit=visit,
            refusal=refusal or _derived_parameters(module) or _wrong_dtype(result_leaves),
        )
        outputs = layer_p.bind(*inputs, *values, jaxpr=closed, info=info)
        result, updates = jax.tree.unflatten(result_tree, outputs)
        for collection, entries in updates.items():
            for name, value in entries.items():
                module.put_variable(collection, name, value)
        return result

    def _recurrent(self, call: RecurrentCall, visit: int) -> Any:
        arguments = (call.x, call.lengths, call.initial)
        leaves, treedef = jax.tree_util.tree_flatten_with_path(call.bound_parameters())
        values = [leaf for _, leaf in leaves]
        run = call.pure()

        def pure(arguments: Any, values: list[Any]) -> Any:
            return run(*arguments, jax.tree.unflatten(treedef, values))

        closed, shapes = self._traced(pure, arguments, values)
        result_leaves, result_tree = jax.tree_util.tree_flatten_with_path((shapes,))
        parameters: list[Path] = [("params", str(path[0].idx), *entry_path(path)) for path, _ in leaves]
        info = recurrent_info(call, parameters, visit, _wrong_dtype(result_leaves))
        outputs = layer_p.bind(*jax.tree.leaves(arguments), *values, jaxpr=closed, info=info)
        return jax.tree.unflatten(result_tree, outputs)[0]

    def _traced(self, pure: Callable[..., Any], *arguments: Any) -> tuple[Any, Any]:
        """The jaxpr of a layer's float computation, without markers, and the shapes of its results."""
        self._inside_layer = True
        try:
            return jax.make_jaxpr(pure, return_shape=True)(*arguments)
        finally:
            self._inside_layer = False


def _folded_norm(module: nn.Module, visit: int, args: Any, kwargs: Any) -> jax.Array:
    """The marker of a normalization that the convolution before it holds."""
    x = inspect.signature(nn.BatchNorm.__call__).bind(module, *args, **kwargs).arguments["x"]
    info = LayerInfo(
        kind=FOLDED_NORM,
        type_name=type(module).__name__,
        module_type=type(module),
        path=module.path,
        attributes={},
        operands=(("input", "0"),),
        results=(("output", "0"),),
        visit=visit,
    )
    (y,) = layer_p.bind(x, jaxpr=jax.make_jaxpr(lambda value: [value])(x), info=info)
    return y


def entry_path(path: tuple[Any, ...]) -> Path:
    """Names along a tree path of variables; boxes around a leaf (``nn.Partitioned``) are no level of their own."""
    return tuple(str(key.key) for key in path if isinstance(key, jax.tree_util.DictKey))


def _derived_parameters(module: nn.Module) -> str | None:
    if type(module).param is not nn.Module.param:
        return f"{type(module).__name__} computes its parameters (it overrides param)"
    return None


def _wrong_dtype(results: list[tuple[Any, Any]]) -> str | None:
    for path, leaf in results:
        if path[0].idx == 0 and leaf.dtype != np.float32:
            return f"computes in {leaf.dtype}: quantization is exact in float32 only"
    return None


@contextlib.contextmanager
def marking(*, reuse_traces: bool, folded: FoldedNorms = NOTHING_FOLDED) -> Iterator[Interceptor]:
    """Within this context (one thread, one trace) layers bind markers.

    Args:
      reuse_traces: whether a function under ``jit`` that was traced in another such context may be used again. It may
        be, unless it holds modules (``nn.jit``); then markers of other visits turn up in the jaxpr.
      folded: normalizations that are part of the convolution before them.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_staging_context(("staging", folded)))
        change: Callable[[], None] = _keep_context
        if not reuse_traces:
            run = object()
            numbers = itertools.count()

            def change() -> None:
                stack.enter_context(_staging_context((run, next(numbers))))

        interceptor = Interceptor(change, folded)
        stack.enter_context(nn.intercept_methods(interceptor))
        yield interceptor


def _keep_context() -> None:
    pass
