"""Settling the order of a layer's features: what the plan says, and what the user says where the plan cannot."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Literal

import numpy as np

from linger_jax.converters.layout import UNFOLLOWED, AxisOrder, FeatureOrders, order_or_none
from linger_jax.converters.model import ModelLayer
from linger_jax.converters.report import ImportProblems
from linger_jax.converters.weights.recurrent_matrices import recurrent_sizes
from linger_jax.kinds import CONV, DENSE
from linger_jax.nearest_name import nearest_name
from linger_jax.typing import Path

FlattenOrder = Literal["channels_first", "channels_last"] | Sequence[int]


def decided_orders(
    orders: FeatureOrders,
    layers: Sequence[ModelLayer],
    chosen: Mapping[str, FlattenOrder],
    filled: Collection[Path],
    problems: ImportProblems,
) -> FeatureOrders:
    """Orders without doubt; those of a layer that gets weights and cannot be settled become problems.

    Args:
      orders: read off the plan.
      layers: of the model.
      chosen: the user's ``flatten_order``, by dotted module path.
      filled: module paths of the layers that the checkpoint has weights for.
      problems: takes what cannot be settled.
    """
    by_path = {layer.path: layer for layer in layers}
    choices = {tuple(name.replace("/", ".").split(".")) if name else (): choice for name, choice in chosen.items()}
    for path in choices.keys() - by_path.keys():
        name = ".".join(path)
        near = nearest_name(name, [".".join(p) for p in by_path])
        problems.add_text(f"flatten_order: the model has no layer {name!r}" + (f"; nearest: {near!r}" if near else ""))
    inputs: dict[Path, AxisOrder] = {}
    for path, layer in by_path.items():
        order = orders.inputs.get(path)
        if path in choices:
            order = _choose(layer, order, choices[path], problems)
        elif order is not None and path in filled and (order.index is None or order.doubt):
            problems.add_text(_question(layer, order))
        if order is not None and order.index is not None:
            inputs[path] = order
    outputs: dict[Path, AxisOrder] = {}
    for path, order in orders.outputs.items():
        if path == UNFOLLOWED:
            problems.add_text(
                "the features of several layers are joined, or cut, before they are reshaped to an image: the order in "
                "which PyTorch makes them cannot be followed; reshape each layer's result by itself"
            )
        elif order.index is None:
            name = ".".join(path)
            problems.add_text(f"{name}: {order.doubt}; the order in which PyTorch makes them cannot be told")
        else:
            outputs[path] = order
    return dataclasses.replace(orders, inputs=inputs, outputs=outputs)


def feature_count(layer: ModelLayer) -> int:
    """How many features a layer reads."""
    kernel = layer.variables.get("kernel")
    if layer.kind.cell is not None:
        return recurrent_sizes(layer)[0]
    if kernel is None:
        return max((math.prod(v.shape) for role, v in layer.variables.items() if role != "embedding"), default=0)
    if layer.kind == DENSE:
        return math.prod(kernel.shape[: layer.contracted])
    return kernel.shape[-1 if layer.flipped else -2]


def _choose(
    layer: ModelLayer, order: AxisOrder | None, choice: FlattenOrder, problems: ImportProblems
) -> AxisOrder | None:
    count = feature_count(layer)
    if isinstance(choice, str):
        if choice == "channels_last":
            return None
        if choice == "channels_first" and order is not None and order.index is not None:
            return AxisOrder(order.index)
        allowed = "is neither 'channels_first', 'channels_last' nor a list of indices"
        lost = f"cannot be followed here; give PyTorch's index of each of its {count} features"
        problems.add_text(f"flatten_order: {layer.label}: {choice!r} {lost if choice == 'channels_first' else allowed}")
        return None
    index = np.asarray(choice)
    if index.shape != (count,) or not np.array_equal(np.sort(index), np.arange(count)):
        problems.add_text(
            f"flatten_order: {layer.label} reads {count} features: "
            f"the indices must be a permutation of 0 to {count - 1}"
        )
        return None
    return order_or_none(index.astype(np.int64))


def _question(layer: ModelLayer, order: AxisOrder) -> str:
    name = ".".join(layer.path)
    known = "" if order.index is None else "'channels_first' (as PyTorch flattens), "
    return (
        f"{layer.label} reads features whose order in PyTorch cannot be told: {order.doubt}. "
        f"Say it by flatten_order={{{name!r}: ...}} with {known}'channels_last' (as here), or PyTorch's index of each "
        f"feature"
    )


def stored_otherwise(layers: Iterable[ModelLayer], rank: Callable[[ModelLayer], int]) -> dict[str, set[Path]]:
    """Layers that are linear on one side and 1 x 1 convolutions on the other: PyTorch's side tells its layout.

    Args:
      layers: of the model.
      rank: of a layer's kernel in PyTorch; 0 where none is known.

    Returns:
      Paths of the ``convolutions`` and of the ``linears`` of PyTorch that are the other kind in Flax.
    """
    other: dict[str, set[Path]] = {"convolutions": set(), "linears": set()}
    for layer in layers:
        if layer.kind == DENSE and rank(layer) > 2:
            other["convolutions"].add(layer.path)
        elif layer.kind == CONV and rank(layer) == 2:
            other["linears"].add(layer.path)
    return other
