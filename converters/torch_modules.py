"""A state dict seen as modules: its keys grouped by everything before the last dot."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterable, Mapping

from converters.layer_weights import BIAS, MEAN, VARIANCE, WEIGHT
from converters.slots import LayerSlot
from converters.torch_state import TorchState

Shape = tuple[int, ...]
# What must agree for a PyTorch module to go into a Flax layer: what it is, and the shape of its weight in PyTorch.
Signature = tuple[str, Shape]

LAYER_LEAVES = frozenset({*WEIGHT, *BIAS, *MEAN, *VARIANCE})


@dataclasses.dataclass(frozen=True, eq=False)
class TorchModule:
    """Tensors of one module.

    Attributes:
      prefix: dotted name; empty for a model that is a single layer.
      leaves: shape of each tensor by its last name.
      tied: prefix of the module before it that holds the very same tensors, or None.
    """

    prefix: str
    leaves: Mapping[str, Shape]
    tied: str | None = None

    def key(self, leaf: str) -> str:
        """Full key of a tensor."""
        return f"{self.prefix}.{leaf}" if self.prefix else leaf

    def leaf(self, names: Iterable[str]) -> str | None:
        """The first of ``names`` that this module has."""
        return next((name for name in names if name in self.leaves), None)

    @property
    def label(self) -> str:
        """Name for messages."""
        return self.prefix or "<root>"


def torch_modules(state: TorchState, without: Collection[str] = ()) -> list[TorchModule]:
    """The modules of a state dict, in its order."""
    groups: dict[str, dict[str, Shape]] = {}
    for key in state.tensors:
        if key not in without:
            prefix, _, leaf = key.rpartition(".")
            groups.setdefault(prefix, {})[leaf] = state.shape(key)
    first: dict[object, str] = {}
    modules = []
    for prefix, leaves in groups.items():
        module = TorchModule(prefix, leaves)
        storages = [state.storage(module.key(leaf)) for leaf in leaves]
        identity = tuple(storages) if all(s is not None for s in storages) else None
        tied = first.setdefault(identity, prefix) if identity is not None else prefix
        modules.append(dataclasses.replace(module, tied=tied if tied != prefix else None))
    return modules


def module_signature(module: TorchModule) -> Signature | None:
    """What a module is, by its tensors; None where it is no layer."""
    statistics = module.leaf(MEAN)
    if statistics is not None:
        return "batch_norm", module.leaves[statistics]
    weight = module.leaf(WEIGHT)
    if weight is None:
        return None
    shape = module.leaves[weight]
    return ("norm", shape) if len(shape) == 1 else _product(shape)


def slot_signature(slot: LayerSlot) -> Signature | None:
    """What a layer of the model asks for, in PyTorch's shapes; None where it can be filled by explicit keys only."""
    shapes = {role: variable.shape for role, variable in slot.variables.items()}
    if slot.kind == "batch_norm":
        return "batch_norm", shapes.get("mean", shapes.get("scale", ()))
    if slot.kind in ("layer_norm", "group_norm", "instance_norm", "rms_norm"):
        shape = shapes.get("scale", shapes.get("bias", ()))
        return "norm", (math.prod(shape),)
    if slot.kind == "embed":
        return _product(shapes["embedding"]) if "embedding" in shapes else None
    if "kernel" not in shapes:
        return None
    kernel = shapes["kernel"]
    if slot.kind == "dense":
        return _product((math.prod(kernel[slot.contracted :]), math.prod(kernel[: slot.contracted])))
    if slot.kind == "conv_transpose" and not slot.flipped:
        return _product((kernel[-2] * slot.groups, kernel[-1] // slot.groups, *kernel[:-2]))
    return _product((kernel[-1], kernel[-2], *kernel[:-2]))


def _product(shape: Shape) -> Signature:
    """A 1 x 1 convolution and a linear layer are the same thing."""
    return "product", shape[:2] if math.prod(shape[2:]) == 1 else shape


def same_sort(one: Signature | None, other: Signature | None) -> bool:
    """Whether two signatures differ in sizes only."""
    return one is not None and other is not None and one[0] == other[0] and len(one[1]) == len(other[1])
