"""Weights in two factors (``torch.nn.utils.weight_norm``): multiplied on the way in, taken apart on the way back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from linger_jax.typing import HostArray

# Names of the factors g and v of a weight: old ones, those of torch.nn.utils.parametrizations.
_NAMES = (("{0}_g", "{0}_v"), ("parametrizations.{0}.original0", "parametrizations.{0}.original1"))


@dataclasses.dataclass(frozen=True, eq=False)
class NormalisedWeight:
    """A weight that is v with the lengths g, along the axes over which g has one entry.

    Attributes:
      g_key, v_key: in the checkpoint.
      g, v: the tensors, untouched.
    """

    g_key: str
    v_key: str
    g: Any
    v: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weight."""
        return tuple(self.v.shape)

    @property
    def dtype(self) -> Any:
        """Of the factors."""
        return self.v.dtype

    def product(self, g: HostArray, v: HostArray) -> HostArray:
        """The weight of two factors in float32."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(v * (g / self.lengths(v)))

    def lengths(self, v: HostArray) -> HostArray:
        """Lengths of v in the shape of g."""
        axes = tuple(i for i, n in enumerate(self.g.shape) if n == 1) if len(self.g.shape) else None
        squares = np.sum(v * v, axis=axes, keepdims=axes is not None)
        return np.asarray(np.sqrt(squares))

    def factors(self, weight: HostArray, g: HostArray, v: HostArray) -> tuple[HostArray, HostArray]:
        """Factors of a weight: those it came from, to the bit, or, once it was trained, with v as long as it was."""
        if np.array_equal(self.product(g, v), weight):
            return g, v
        signed = np.copysign(self.lengths(weight), g)
        turned = weight * np.divide(self.lengths(v), signed, out=np.zeros_like(signed), where=signed != 0)
        return signed, np.where(signed == 0, v, turned)


def normalised_weights(tensors: Mapping[str, Any]) -> dict[str, NormalisedWeight]:
    """The weights of a state dict that are stored in two factors, by the key they would have."""
    found: dict[str, NormalisedWeight] = {}
    for v_key in tensors:
        for g_form, v_form in _NAMES:
            head, mark, tail = v_form.partition("{0}")
            del mark
            name = _parameter(v_key, head, tail)
            if name is None:
                continue
            module, parameter = name
            g_key = _joined(module, g_form.format(parameter))
            if g_key in tensors and _is_length(tuple(tensors[g_key].shape), tuple(tensors[v_key].shape)):
                found[_joined(module, parameter)] = NormalisedWeight(g_key, v_key, tensors[g_key], tensors[v_key])
    return found


def _parameter(key: str, head: str, tail: str) -> tuple[str, str] | None:
    """Module and parameter of a key that is ``<module>.<head><parameter><tail>``."""
    if not key.endswith(tail):
        return None
    module, _, parameter = key[: len(key) - len(tail)].rpartition(".")
    if not head:
        return module, parameter
    owner = head.rstrip(".")
    if module != owner and not module.endswith(f".{owner}"):
        return None
    return module[: len(module) - len(owner)].rstrip("."), parameter


def _is_length(g: tuple[int, ...], v: tuple[int, ...]) -> bool:
    """Whether g may hold the lengths of v: one for all, or one entry along some axes."""
    if not g:
        return len(v) > 0
    return len(g) == len(v) and 1 in g and all(n in (1, m) for n, m in zip(g, v, strict=True))


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
