"""A state dict seen as modules: its keys grouped by everything before the last dot."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Iterable, Mapping

from linger_jax.converters.files import TorchState
from linger_jax.converters.model import ModelLayer
from linger_jax.converters.weights.layer_weights import BIAS, MEAN, WEIGHT
from linger_jax.converters.weights.recurrent_matrices import numbered, recurrent_leaf, recurrent_sizes
from linger_jax.kinds import (
    BATCH_NORM,
    CELLS,
    CONV,
    CONV_BN,
    CONV_TRANSPOSE,
    CUSTOM_CONV,
    CUSTOM_LINEAR,
    DENSE,
    EINSUM,
    EMBED,
    GROUP_NORM,
    GRU,
    INSTANCE_NORM,
    LAYER_NORM,
    LSTM,
    RMS_NORM,
    SPARIFY_FFN,
    Registry,
    TorchSort,
)
from linger_jax.typing import Shape

# What must agree for a PyTorch module to go into a Flax layer: what it is, and the shape of its weight in PyTorch.
Signature = tuple[TorchSort, Shape]

# Stands for the number of directions of a layer that is the backward one alone.
_BACKWARD = -1
# Tells linger's sparse feed-forward block.
_SPARIFY = "weight_fc1"


@dataclasses.dataclass(frozen=True, eq=False)
class TorchModule:
    """Tensors of one module.

    Attributes:
      prefix: dotted name; empty for a model that is a single layer. One of several layers of a recurrent module is
        told apart by its number: ``rnn.l1``; its backward direction, where that is a layer to Flax, by ``_reverse``.
      leaves: shape of each tensor by its last name, in a recurrent module without the number of the layer.
      tied: prefix of the module before it that holds the very same tensors, or None.
      owner: dotted name in front of the keys.
      layer: number of the layer of a recurrent module, else None.
      reverse: the backward direction of a recurrent module, on its own.
    """

    prefix: str
    leaves: Mapping[str, Shape]
    tied: str | None = None
    owner: str = ""
    layer: int | None = None
    reverse: bool = False

    def key(self, leaf: str) -> str:
        """Full key of a tensor."""
        leaf = f"{leaf}_reverse" if self.reverse else leaf
        leaf = leaf if self.layer is None else numbered(leaf, self.layer)
        return f"{self.owner}.{leaf}" if self.owner else leaf

    @property
    def compared(self) -> str:
        """Name to compare with those of layers: ``rnn.1`` for the second layer of ``rnn``."""
        if self.prefix in (self.owner, f"{self.owner}_reverse"):
            return self.prefix
        return f"{self.owner}.{self.layer}" + ("_reverse" if self.reverse else "")

    def leaf(self, names: Iterable[str]) -> str | None:
        """The first of ``names`` that this module has."""
        return next((name for name in names if name in self.leaves), None)

    @property
    def label(self) -> str:
        """Name for messages."""
        return self.prefix or "<root>"


def torch_modules(state: TorchState, without: Collection[str] = (), *, split: bool = False) -> list[TorchModule]:
    """The modules of a state dict, in its order; with ``split`` each direction of a recurrent one is its own."""
    groups: dict[tuple[str, int | None, bool], dict[str, Shape]] = {}
    layers: dict[str, set[int]] = {}
    for key in state.tensors:
        prefix, _, leaf = key.rpartition(".")
        recurrent = recurrent_leaf(leaf)
        if recurrent is not None:
            layers.setdefault(prefix, set()).add(recurrent.layer)
        if key not in without:
            layer, name = (None, leaf) if recurrent is None else (recurrent.layer, recurrent.name)
            back = split and recurrent is not None and name.endswith("_reverse")
            name = name.removesuffix("_reverse") if back else name
            groups.setdefault((prefix, layer, back), {})[name] = state.shape(key)
    first: dict[object, str] = {}
    modules = []
    for (owner, layer, back), leaves in groups.items():
        prefix = owner if layer is None or layers[owner] == {0} else f"{owner}.l{layer}"
        prefix = f"{prefix}_reverse" if back else prefix
        module = TorchModule(prefix, leaves, owner=owner, layer=layer, reverse=back)
        storages = [state.storage(module.key(leaf)) for leaf in leaves]
        identity = tuple(storages) if all(s is not None for s in storages) else None
        tied = first.setdefault(identity, prefix) if identity is not None else prefix
        modules.append(dataclasses.replace(module, tied=tied if tied != prefix else None))
    return modules


def module_signature(module: TorchModule) -> Signature | None:
    """What a module is, by its tensors; None where it is no layer."""
    if {"weight_ih", "weight_hh"} <= module.leaves.keys():
        return _recurrent(module.leaves, reverse=module.reverse)
    if _SPARIFY in module.leaves:
        return TorchSort.sparify_ffn, module.leaves[_SPARIFY]
    statistics = module.leaf(MEAN)
    if statistics is not None:
        return TorchSort.batch_norm, module.leaves[statistics]
    weight = module.leaf(WEIGHT)
    if weight is None:
        return None
    shape = module.leaves[weight]
    bias = module.leaf(BIAS)
    if len(shape) == 1 or (bias is not None and module.leaves[bias] == shape):  # a norm over several axes has both
        return TorchSort.norm, (math.prod(shape),)
    return _product(shape)


def layer_signature(layer: ModelLayer) -> Signature | None:
    """What a layer of the model asks for, in PyTorch's shapes; None where it can be filled by explicit keys only."""
    measure, sort = measures.get(layer.kind), layer.kind.torch_sort
    shape = None if measure is None else measure(layer, {name: v.shape for name, v in layer.variables.items()})
    if shape is None or sort is None:
        return None
    return _product(shape) if sort is TorchSort.product else (sort, shape)


Measure = Callable[[ModelLayer, Mapping[str, Shape]], Shape | None]
measures: Registry[Measure] = Registry("measure")
"""The shape that tells a layer's module among those of its sort, from the shapes of its variables."""


@measures(LSTM, GRU)
def _of_recurrent(layer: ModelLayer, shapes: Mapping[str, Shape]) -> Shape:
    del shapes
    inputs, hidden, directions = recurrent_sizes(layer)
    return inputs, hidden, _BACKWARD if layer.reverse else directions


@measures(SPARIFY_FFN)
def _of_sparify_ffn(layer: ModelLayer, shapes: Mapping[str, Shape]) -> Shape:
    del layer
    return shapes[_SPARIFY][::-1]


@measures(BATCH_NORM)
def _of_batch_norm(layer: ModelLayer, shapes: Mapping[str, Shape]) -> Shape:
    del layer
    return shapes.get("mean", shapes.get("scale", ()))


@measures(LAYER_NORM, GROUP_NORM, INSTANCE_NORM, RMS_NORM)
def _of_norm(layer: ModelLayer, shapes: Mapping[str, Shape]) -> Shape:
    del layer
    return (math.prod(shapes.get("scale", shapes.get("bias", ()))),)


@measures(EMBED)
def _of_embed(layer: ModelLayer, shapes: Mapping[str, Shape]) -> Shape | None:
    del layer
    return shapes.get("embedding")


@measures(DENSE)
def _of_dense(layer: ModelLayer, shapes: Mapping[str, Shape]) -> Shape | None:
    kernel = shapes.get("kernel")
    if kernel is None:
        return None
    return math.prod(kernel[layer.contracted :]), math.prod(kernel[: layer.contracted])


@measures(CONV_TRANSPOSE)
def _of_conv_transpose(layer: ModelLayer, shapes: Mapping[str, Shape]) -> Shape | None:
    kernel = shapes.get("kernel")
    if kernel is None or layer.flipped:
        return _of_kernel(layer, shapes)
    return kernel[-2] * layer.groups, kernel[-1] // layer.groups, *kernel[:-2]


@measures(CONV, EINSUM, CUSTOM_LINEAR, CUSTOM_CONV, CONV_BN)
def _of_kernel(layer: ModelLayer, shapes: Mapping[str, Shape]) -> Shape | None:
    del layer
    kernel = shapes.get("kernel")
    return None if kernel is None else (kernel[-1], kernel[-2], *kernel[:-2])


def _recurrent(leaves: Mapping[str, Shape], *, reverse: bool) -> Signature | None:
    """Kind, features of input and hidden state, directions."""
    (rows, inputs), hidden = leaves["weight_ih"][:2], leaves["weight_hh"][-1]
    gates = {len(cell.gates): TorchSort(cell.name) for cell in CELLS}
    sort = gates.get(rows // max(hidden, 1))
    directions = _BACKWARD if reverse else 2 if "weight_ih_reverse" in leaves else 1
    return None if sort is None else (sort, (inputs, hidden, directions))


def _product(shape: Shape) -> Signature:
    """A 1 x 1 convolution and a linear layer are the same thing."""
    return TorchSort.product, shape[:2] if math.prod(shape[2:]) == 1 else shape


def same_sort(one: Signature | None, other: Signature | None) -> bool:
    """Whether two signatures differ in sizes only."""
    return one is not None and other is not None and one[0] == other[0] and len(one[1]) == len(other[1])
