"""``to_torch``: the variables of a Flax model as a PyTorch state dict; of a quantized model, as linger writes it."""

from __future__ import annotations

import dataclasses
import functools
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.core
import flax.linen as nn
import jax
import numpy as np

from linger_jax.api import QUANT, QuantizedModel, float_collections, fold_variables, gather, get_in
from linger_jax.compat import on_host
from linger_jax.converters.files import (
    COUNTER,
    EXPORT_BUFFERS,
    PLACEHOLDER,
    in_factors,
    packed,
    require_torch,
    write_safetensors_file,
    write_torch_file,
)
from linger_jax.converters.layout import FeatureOrders, feature_orders, inverted, put_back
from linger_jax.converters.match import Naming, TorchNames, names_in_file
from linger_jax.converters.model import ModelLayer, QuantizerPlace, free_conversion, model_inventory, quantizer_places
from linger_jax.converters.report import ImportProblems, ImportReport, ImportRow
from linger_jax.converters.torch_import import model_call
from linger_jax.converters.weights import FlattenOrder, LeafRule, decided_orders, leaf_rules, numbered, stored_otherwise
from linger_jax.errors import ConversionError, LingerWarning
from linger_jax.plan import Plan
from linger_jax.staging import variable_paths
from linger_jax.typing import HostArray, Path

Arrays = dict[str, HostArray]


def to_torch(
    model: QuantizedModel | nn.Module,
    variables: Mapping[str, Any],
    x: Any,
    *,
    mapping: Naming | str | os.PathLike[str] = None,
    flatten_order: Mapping[str, FlattenOrder] | None = None,
    rngs: Any = None,
    method: Callable[..., Any] | str | None = None,
    **kwargs: Any,
) -> dict[str, Any]:
    """Writes variables as a PyTorch state dict; the inverse of ``from_torch`` and ``load_linger_checkpoint``.

    Args:
      model: a Flax module, or a constrained model: the float state dict. A quantized model: the complete state that
        linger 3.0.9 saves, names, shapes and dtypes included; linger loads it strictly and evaluates to the same bits.
      variables: all collections.
      x: example input; a tuple holds several positional arguments. Only shapes and dtypes matter.
      mapping: what things are called in PyTorch: the report of the import that the variables came from, or a mapping
        of names like that of ``from_torch``, or a YAML file of one. Without it the model's own paths are the
        names, which linger cannot know of average pools: name those (``{"pool": "_linger_avg_pool_0"}``).
      flatten_order, rngs, method, **kwargs: as in ``from_torch``.

    Returns:
      Tensors by key, in the order of execution.

    Raises:
      ConversionError: a layer whose weights have no form in PyTorch, or whose features' order cannot be told.
      StateError: quantizer state is missing.
    """
    torch = require_torch()
    mapping = names_in_file(mapping) if isinstance(mapping, (str, os.PathLike)) else mapping
    state = torch_arrays(model, variables, x, mapping, flatten_order or {}, rngs, method, kwargs)
    if isinstance(mapping, ImportReport):
        state = in_factors(packed(state, mapping.parts), mapping.normalised)
    tensors = {key: torch.from_numpy(np.array(array)) for key, array in state.items()}
    tied = mapping.tied if isinstance(mapping, ImportReport) else {}
    return tensors | {key: tensors[owner] for key, owner in tied.items()}


def save_torch(
    path: str | os.PathLike[str],
    model: QuantizedModel | nn.Module,
    variables: Mapping[str, Any],
    x: Any,
    **options: Any,
) -> None:
    """Saves what ``to_torch`` returns; an existing file is replaced only when all is written.

    Args:
      path: of the file: ``.safetensors``, or anything else for ``torch.load``.
      model, variables, x, **options: as in ``to_torch``.

    Raises:
      FileError: the folder does not exist or cannot be written to.
      ConversionError: as ``to_torch``.
    """
    tensors = to_torch(model, variables, x, **options)
    if os.fspath(path).endswith(".safetensors"):
        write_safetensors_file(path, {key: tensor.numpy() for key, tensor in tensors.items()})
    else:
        write_torch_file(path, tensors)


def torch_arrays(
    model: QuantizedModel | nn.Module,
    variables: Mapping[str, Any],
    x: Any,
    mapping: Naming,
    flatten_order: Mapping[str, FlattenOrder],
    rngs: Any,
    method: Any,
    kwargs: Mapping[str, Any],
) -> Arrays:
    """``to_torch`` as NumPy arrays."""
    qmodel = model if isinstance(model, QuantizedModel) else None
    module = model.model if isinstance(model, QuantizedModel) else model
    call = model_call(module, x, rngs, method, kwargs)
    pairs = () if qmodel is None else qmodel.settings.folded_pairs
    call = call if qmodel is None or not pairs else dataclasses.replace(call, fused=qmodel.settings)
    floats = nn.unbox(float_collections(variables))
    floats = floats if qmodel is None else fold_variables(qmodel.settings, floats)
    names = TorchNames(mapping)
    values = dict(zip(variable_paths(floats), jax.tree.leaves(floats), strict=True))
    plan = call.plan(jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), floats))
    weights = _weights(plan, values, names, flatten_order, module)
    if qmodel is None or qmodel.settings.purpose != "quantize" or not qmodel.active:
        floating: Arrays = {}
        for path, _, arrays in weights:
            _put(floating, arrays, path)
        return floating
    planned = qmodel.plan(variables, *call.args, rngs=call.rngs, method=method, verdict=False, **kwargs)
    state = _with_quantizers(planned, weights, flax.core.unfreeze(dict(variables)), names)
    return state | {
        key: np.zeros(1, np.float32) for key in _placeholders([pair.norm for pair in pairs], names, mapping)
    }


def _placeholders(norms: Sequence[Path], names: TorchNames, mapping: Naming) -> list[str]:
    """Keys of what linger leaves in the place of a fused normalization."""
    found = mapping.placeholders if isinstance(mapping, ImportReport) else ()
    if len(found) == len(norms):
        return list(found)
    return [_key(names.module(".".join(norm)), PLACEHOLDER) for norm in norms]


_Layer = tuple[str | None, int | None, Arrays]


def _weights(
    plan: Plan,
    values: Mapping[Path, Any],
    names: TorchNames,
    flatten_order: Mapping[str, FlattenOrder],
    model: nn.Module,
) -> list[_Layer]:
    """Tensors of every layer, by its dotted path and iteration; those of no layer at the end, without a path."""
    inventory = model_inventory(plan, {path: tuple(np.shape(value)) for path, value in values.items()})
    problems = ImportProblems("its variables", type(model).__name__, exporting=True)
    orders = feature_orders(plan, **stored_otherwise(inventory.layers, functools.partial(_rank_of_import, names)))
    orders = decided_orders(
        orders, inventory.layers, flatten_order, {layer.path for layer in inventory.layers}, problems
    )
    for path in inventory.free:
        if path[1:-1] in inventory.reasons:
            problems.add_text(f"{'.'.join(path)}: {inventory.reasons[path[1:-1]]}")
    problems.raise_if_any()
    layers: list[_Layer] = [
        (".".join(layer.path), layer.iteration, _layer_tensors(layer, values, names, orders))
        for layer in inventory.layers
    ]
    free = {}
    for path in inventory.free:
        if path[0] in ("params", "batch_stats"):
            key, array = _free_tensor(path, on_host(values[path]), names, orders)
            free[key] = array
    return [*layers, (None, None, free)]


def _rank_of_import(names: TorchNames, layer: ModelLayer) -> int:
    kernel = layer.variables.get("kernel")
    row = None if kernel is None else names.row(".".join(kernel.path))
    return 0 if row is None else len(row.torch_shape)


def _layer_tensors(layer: ModelLayer, values: Mapping[Path, Any], names: TorchNames, orders: FeatureOrders) -> Arrays:
    tensors: Arrays = {}
    rules = leaf_rules(layer, orders.inputs.get(layer.path), orders.outputs.get(layer.path))
    for role, rule in rules.items():
        path = layer.variables[role].path
        array = on_host(values[path])
        array = array if layer.iteration is None else array[layer.iteration]
        row = names.row(".".join(path) + ("" if layer.iteration is None else f"[{layer.iteration}]"))
        shape = row.torch_shape if row is not None and rule.accepts(row.torch_shape) else rule.shape
        if layer.kind.cell is not None:
            _put_gates(tensors, layer, rule, array, names, row)
            continue
        key = names.key(".".join(path[1:]), rule.names[0], layer.iteration)
        tensors[key] = inverted(rule.to_flax, shape, array)
    if "mean" in rules:
        module = names.key(".".join((*layer.path, "mean")), "running_mean", layer.iteration).rpartition(".")[0]
        tensors[f"{module}.{COUNTER}" if module else COUNTER] = np.array(0, np.int64)
    return tensors


def _put_gates(
    tensors: Arrays, layer: ModelLayer, rule: LeafRule, array: HostArray, names: TorchNames, row: ImportRow | None
) -> None:
    """A gate, or all of them, of a recurrent layer; where its cell has one bias for two, the second is zero."""
    if row is None:
        module = names.module(".".join(layer.path), layer.iteration)
        keys = [None if name is None else _key(module, numbered(name, 0)) for name in (rule.names[0], rule.plus)]
    else:
        keys = [row.key, row.plus]
    for key in keys:
        if key is not None:
            tensors.setdefault(key, np.zeros(rule.shape, array.dtype))
    assert keys[0] is not None
    put_back(rule.to_flax, tensors[keys[0]], array)


def _key(module: str, leaf: str) -> str:
    return f"{module}.{leaf}" if module else leaf


def _free_tensor(path: Path, array: HostArray, names: TorchNames, orders: FeatureOrders) -> tuple[str, HostArray]:
    dotted, row = ".".join(path), names.row(".".join(path))
    key = names.key(".".join(path[1:]), path[-1])
    shape = array.shape if row is None else row.torch_shape
    product, order = path in orders.products, orders.parameters.get(path)
    found = free_conversion(key, shape, array.shape, product=product, order=order)
    if found is None:
        raise ConversionError(f"{dotted} {list(array.shape)} does not fit {key} {list(shape)} any more")
    return key, inverted(found[0], shape, array)


# --- quantizers ---


def _with_quantizers(plan: Plan, weights: list[_Layer], variables: Mapping[str, Any], names: TorchNames) -> Arrays:
    """Layers with their quantizers, then operators, as linger saves them."""
    state = gather(plan, variables)
    places = {place.dotted: place for place in quantizer_places(plan)}
    result: Arrays = {}
    for path, iteration, tensors in weights:
        _put(result, tensors, path)
        counter = next((key for key in tensors if key.rpartition(".")[2] == COUNTER), None)
        place = places.get(path) if path is not None else None
        if counter is not None:
            count = get_in(variables.get(QUANT, {}), (*(path or "").split("."), COUNTER))
            result[counter] = np.array(0 if count is None else int(count), np.int64)
        if counter is not None and place is not None:
            prefix = counter.rpartition(".")[0]
            result.update({f"{prefix}.{name}": np.zeros(0, np.float32) for name in EXPORT_BUFFERS})
        if place is not None:
            module = next(iter(tensors)).rpartition(".")[0]
            _put(result, _entries(place, module, state, iteration), path)
    written = {path for path, _, _ in weights}
    for place in places.values():
        if place.dotted in written and place.is_layer:
            continue
        for i in range(place.stack[0]) if place.stack else [None]:
            name = _operator_name(place, list(places.values()), names, i)
            _put(result, _entries(place, name, state, i), place.dotted)
    return result


def _put(state: Arrays, tensors: Arrays, path: str | None) -> None:
    """Adds the tensors of a layer or operator, unless another one has a key already."""
    twice = sorted(state.keys() & tensors.keys())
    if twice:
        raise ConversionError(
            f"{path or 'a variable of no layer'} cannot be written as a PyTorch state dict: {twice[0]} is the key of "
            f"another place, too; give them names of their own by mapping={{'torch name': 'flax name'}}. The two "
            f"directions of a quantized recurrent layer share quantizers in linger: write them as nn.Bidirectional"
        )
    state.update(tensors)


# The order in which linger's layers register their quantizers.
_ORDER = ("weight_quantizer", "bias_quantizer", "output_quantizer", "input_quantizer")


def _entries(place: QuantizerPlace, module: str, state: Mapping[Path, Any], iteration: int | None) -> Arrays:
    entries: Arrays = {}
    order = sorted(place.quantizers, key=lambda name: _ORDER.index(name) if name in _ORDER else 0)
    for name in order if place.is_layer else place.quantizers:
        for entry, value in state[place.quantizers[name].path].items():
            array = on_host(value)
            prefix = f"{module}.{name}" if module else name
            entries[f"{prefix}.{entry}"] = array if iteration is None else array[iteration]
    return entries


def _operator_name(
    place: QuantizerPlace, places: list[QuantizerPlace], names: TorchNames, iteration: int | None
) -> str:
    """Name of an operator; a module that is nothing but one function (a pool) is that function to linger."""
    owner, counted = place.path[:-1], place.path[-1].startswith("_linger_qtensor_")
    alone = sum(other.path[: len(owner)] == owner for other in places) == 1
    if names.names_place(place.dotted) or counted:
        return names.place(place.dotted, iteration)
    if owner and alone:
        return names.module(".".join(owner), iteration)
    warnings.warn(
        f"{place.dotted}: linger has a module here, whose name is not known; say it by mapping={{'name': "
        f"{place.dotted!r}}}, or linger cannot load the result strictly",
        LingerWarning,
        stacklevel=2,
    )
    return names.place(place.dotted, iteration)
