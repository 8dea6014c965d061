"""Tensors that PyTorch packs or splits: attention's joined projections, weight normalisation in two factors.

They get the names that the unpacked layers would have, so that nothing behind needs to know.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

_PROJECTIONS = ("query", "key", "value")
# The factors g and v of a normalised weight: old names, names of torch.nn.utils.parametrizations.
_FACTORS = (("{0}_g", "{0}_v"), ("parametrizations.{0}.original0", "parametrizations.{0}.original1"))


@dataclasses.dataclass(frozen=True)
class Part:
    """Where a tensor comes from.

    Attributes:
      source: key in the checkpoint.
      start, stop: rows of it, or None for all.
    """

    source: str
    start: int | None = None
    stop: int | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Unpacked:
    """A state dict without packed tensors.

    Attributes:
      tensors: in the order of the checkpoint.
      parts: of the keys that are not those of the checkpoint.
      joined: factors that became one weight, with that weight's key.
    """

    tensors: Mapping[str, Any]
    parts: Mapping[str, Part]
    joined: Mapping[str, str]


def unpacked(tensors: Mapping[str, Any]) -> Unpacked:
    """Takes packed tensors apart and multiplies the factors of normalised weights."""
    attentions = {
        key.rpartition(".")[0] for key in tensors if key.rpartition(".")[2] in ("in_proj_weight", "q_proj_weight")
    }
    result: dict[str, Any] = {}
    parts: dict[str, Part] = {}
    joined: dict[str, str] = {}
    for key, tensor in tensors.items():
        prefix, _, leaf = key.rpartition(".")
        weight = _normalised(tensors, prefix, leaf)
        if weight is not None:
            name, g, v = weight
            joined |= {g: name, v: name}
            if name not in result and name not in tensors:
                result[name] = _product(tensors[g], tensors[v])
        elif prefix in attentions and leaf in ("in_proj_weight", "in_proj_bias") and tensor.shape[0] % 3 == 0:
            third = int(tensor.shape[0]) // 3
            for i, projection in enumerate(_PROJECTIONS):
                name = _joined(prefix, f"{projection}.{leaf.removeprefix('in_proj_')}")
                parts[name] = Part(key, i * third, (i + 1) * third)
                result[name] = tensor[i * third : (i + 1) * third]
        else:
            name = _renamed(prefix, leaf, attentions)
            if name != key:
                parts[name] = Part(key)
            result[name] = tensor
    return Unpacked(result, parts, joined)


def packed(arrays: Mapping[str, Any], parts: Mapping[str, Part]) -> dict[str, Any]:
    """Puts parts back into the tensors they were taken from."""
    whole: dict[str, list[tuple[int, Any]]] = {}
    result: dict[str, Any] = {}
    for key, array in arrays.items():
        part = parts.get(key)
        if part is None:
            result[key] = array
        else:
            result.setdefault(part.source, None)
            whole.setdefault(part.source, []).append((part.start or 0, array))
    for key, pieces in whole.items():
        ordered = [array for _, array in sorted(pieces, key=lambda piece: piece[0])]
        result[key] = ordered[0] if len(ordered) == 1 else np.concatenate(ordered)
    return result


def _renamed(prefix: str, leaf: str, attentions: set[str]) -> str:
    """Flax's names of an attention's other tensors."""
    owner, _, module = prefix.rpartition(".")
    if module == "out_proj" and owner in attentions:
        return _joined(owner, f"out.{leaf}")
    if prefix in attentions and leaf in ("q_proj_weight", "k_proj_weight", "v_proj_weight"):
        return _joined(prefix, f"{_PROJECTIONS['qkv'.index(leaf[0])]}.weight")
    return _joined(prefix, leaf)


def _normalised(tensors: Mapping[str, Any], prefix: str, leaf: str) -> tuple[str, str, str] | None:
    """Keys of a weight and of its factors, if this is one of them."""
    for g_form, v_form in _FACTORS:
        head, _, parameter = prefix.rpartition(".")
        if "." in g_form:
            module = head.removesuffix("parametrizations").rstrip(".")
            fits = leaf in ("original0", "original1") and head.rpartition(".")[2] == "parametrizations"
        else:
            module, parameter = prefix, leaf[:-2]
            fits = leaf.endswith(("_g", "_v"))
        g, v = (_joined(module, form.format(parameter)) for form in (g_form, v_form))
        if fits and g in tensors and v in tensors and _is_length(tuple(tensors[g].shape), tuple(tensors[v].shape)):
            return _joined(module, parameter), g, v
    return None


def _is_length(g: tuple[int, ...], v: tuple[int, ...]) -> bool:
    return len(g) == len(v) and g != v and all(n in (1, m) for n, m in zip(g, v, strict=True))


def _product(g: Any, v: Any) -> Any:
    """v with the lengths g, along the axes over which g has one entry each."""
    axes = tuple(i for i, n in enumerate(g.shape) if n == 1)
    if hasattr(v, "detach"):
        g, v = g.detach().float(), v.detach().float()
        return v * (g / (v * v).sum(dim=axes, keepdim=True).sqrt())
    g, v = np.asarray(g, np.float32), np.asarray(v, np.float32)
    return v * (g / np.sqrt(np.sum(v * v, axis=axes, keepdims=True)))


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
