"""How Flax Linen layers become markers: one interceptor, one table of layer kinds."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from linger_jax.staging.marker import LayerInfo, Path, layer_p, scope_p

Attributes = dict[str, Any]
Describe = Callable[[nn.Module, inspect.BoundArguments], tuple[Attributes, str | None]]


def _plain(module: nn.Module, call: inspect.BoundArguments) -> tuple[Attributes, str | None]:
    del module, call
    return {}, None


def _dense(module: nn.Module, call: inspect.BoundArguments) -> tuple[Attributes, str | None]:
    del call
    if isinstance(module, nn.DenseGeneral) and tuple(module.batch_dims):
        return {}, "DenseGeneral with batch_dims is not a Dense"
    return {}, None


def _conv(module: nn.Module, call: inspect.BoundArguments) -> tuple[Attributes, str | None]:
    del call
    return {"features": module.features, "use_bias": module.use_bias}, (
        "a weight mask is not supported" if getattr(module, "mask", None) is not None else None
    )


def _batch_norm(module: nn.Module, call: inspect.BoundArguments) -> tuple[Attributes, str | None]:
    running = nn.merge_param(
        "use_running_average", module.use_running_average, call.arguments.get("use_running_average")
    )
    attributes = {
        "training": not running,
        "momentum": float(module.momentum),
        "epsilon": float(module.epsilon),
    }
    rank = np.ndim(call.arguments["x"])
    refusal = None
    if module.axis not in (-1, rank - 1):
        refusal = f"axis {module.axis}: only the last axis is supported"
    elif call.arguments.get("mask") is not None:
        refusal = "a mask is not supported"
    elif module.axis_name is not None:
        refusal = "axis_name belongs to pmap; use jit with a sharded batch, statistics are global there"
    return attributes, refusal


def _dropout(module: nn.Module, call: inspect.BoundArguments) -> tuple[Attributes, str | None]:
    del call
    return {"rate": float(module.rate)}, None


def _layer_norm(module: nn.Module, call: inspect.BoundArguments) -> tuple[Attributes, str | None]:
    del call
    return {"epsilon": float(module.epsilon)}, None


def _embed(module: nn.Module, call: inspect.BoundArguments) -> tuple[Attributes, str | None]:
    del call
    return {"num_embeddings": module.num_embeddings, "features": module.features}, None


# A class is a layer when it (or the class it inherits ``__call__`` from) stands here.
LAYERS: Mapping[type[nn.Module], tuple[str, Describe]] = {
    nn.Dense: ("dense", _dense),
    nn.DenseGeneral: ("dense", _dense),
    nn.Conv: ("conv", _conv),
    nn.ConvTranspose: ("conv_transpose", _conv),
    nn.BatchNorm: ("batch_norm", _batch_norm),
    nn.Embed: ("embed", _embed),
    nn.Dropout: ("dropout", _dropout),
    nn.LayerNorm: ("layer_norm", _layer_norm),
    nn.GroupNorm: ("group_norm", _plain),
    nn.RMSNorm: ("rms_norm", _plain),
    nn.InstanceNorm: ("instance_norm", _plain),
}

# Composite layers: everything inside runs as float and is listed once, under the composite's own name.
FLOAT_COMPOSITES: Mapping[type[nn.Module], str] = {
    nn.RNN: "recurrent layer",
    nn.Bidirectional: "recurrent layer",
    nn.LSTMCell: "recurrent cell",
    nn.OptimizedLSTMCell: "recurrent cell",
    nn.ConvLSTMCell: "recurrent cell",
    nn.SimpleCell: "recurrent cell",
    nn.GRUCell: "recurrent cell",
    nn.MGUCell: "recurrent cell",
    nn.ConvLocal: "locally connected convolution",
    nn.Einsum: "einsum layer",
    nn.SpectralNorm: "spectral normalisation",
    nn.WeightNorm: "weight normalisation",
}


def _lookup(module: nn.Module, table: Mapping[type[nn.Module], Any]) -> Any:
    """Entry of the first base class whose ``__call__`` the module really runs, or None."""
    for base in type(module).__mro__:
        if base in table:
            return table[base] if type(module).__call__ is base.__call__ else None
    return None


class _Interceptor:
    """Binds markers around the modules of one staging run; not shared between runs or threads."""

    def __init__(self) -> None:
        self.inside_layer = False

    def __call__(self, next_fun: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        module: nn.Module = context.module
        if self.inside_layer or context.method_name == "setup":
            return next_fun(*args, **kwargs)
        if context.method_name == "__call__":
            entry = _lookup(module, LAYERS)
            if entry is not None:
                return self.layer(module, entry, args, kwargs)
            composite = _lookup(module, FLOAT_COMPOSITES)
        else:
            composite = None
        scope = {
            "path": module.path,
            "method": context.method_name,
            "module_type": type(module),
            "composite": composite,
        }
        scope_p.bind(enter=True, **scope)
        try:
            return next_fun(*args, **kwargs)
        finally:
            scope_p.bind(enter=False, **scope)

    def layer(self, module: nn.Module, entry: tuple[str, Describe], args: Any, kwargs: Any) -> Any:
        kind, describe = entry
        call = inspect.signature(type(module).__call__).bind(module, *args, **kwargs)
        if kind == "dropout" and call.arguments.get("rng") is None:
            deterministic = nn.merge_param("deterministic", module.deterministic, call.arguments.get("deterministic"))
            if module.rate > 0.0 and not deterministic:
                # Drawn here, in the model's own scope, so that the mask is the float model's mask.
                kwargs = {**kwargs, "rng": module.make_rng(module.rng_collection)}
        attributes, refusal = describe(module, call)

        variables = {c: v for c, v in module.variables.items() if jax.tree.leaves(v)}
        scope = module.scope
        assert scope is not None, "an intercepted module is bound"
        mutable = [c for c in variables if c != "params" and scope.is_mutable_collection(c)]
        leaves, treedef = jax.tree.flatten((args, kwargs))
        is_array = [isinstance(leaf, (jax.Array, np.ndarray)) for leaf in leaves]
        inputs = [leaf for leaf, dynamic in zip(leaves, is_array, strict=True) if dynamic]
        variable_leaves, variable_tree = jax.tree_util.tree_flatten_with_path(variables)
        clone = module.clone(parent=None)

        def pure(inputs: list[Any], values: list[Any]) -> Any:
            rest = iter(inputs)
            merged = [next(rest) if dynamic else leaf for leaf, dynamic in zip(leaves, is_array, strict=True)]
            layer_args, layer_kwargs = jax.tree.unflatten(treedef, merged)
            collections = jax.tree.unflatten(variable_tree, values)
            return clone.apply(collections, *layer_args, mutable=mutable, **layer_kwargs)

        values = [leaf for _, leaf in variable_leaves]
        self.inside_layer = True
        try:
            closed, shapes = jax.make_jaxpr(pure, return_shape=True)(inputs, values)
        finally:
            self.inside_layer = False

        result_leaves, result_tree = jax.tree_util.tree_flatten_with_path(shapes)
        info = LayerInfo(
            kind=kind,
            type_name=type(module).__name__,
            module_type=type(module),
            path=module.path,
            attributes=attributes,
            operands=(
                *(("input", str(i)) for i in range(len(inputs))),
                *(_keys(path) for path, _ in variable_leaves),
            ),
            results=tuple(
                ("output", str(i)) if path[0].idx == 0 else _keys(path[1:]) for i, (path, _) in enumerate(result_leaves)
            ),
            refusal=refusal or _wrong_dtype(result_leaves),
        )
        outputs = layer_p.bind(*inputs, *values, jaxpr=closed, info=info)
        result, updates = jax.tree.unflatten(result_tree, outputs)
        for collection, entries in updates.items():
            for name, value in entries.items():
                module.put_variable(collection, name, value)
        return result


def _keys(path: tuple[Any, ...]) -> Path:
    return tuple(str(key.key) for key in path)


def _wrong_dtype(results: list[tuple[Any, Any]]) -> str | None:
    for path, leaf in results:
        if path[0].idx == 0 and leaf.dtype != np.float32:
            return f"computes in {leaf.dtype}: quantization is exact in float32 only"
    return None


@contextlib.contextmanager
def marking() -> Iterator[None]:
    """Within this context (one thread, one trace) layers bind markers."""
    with nn.intercept_methods(_Interceptor()):
        yield
