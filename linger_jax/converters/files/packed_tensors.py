"""Tensors that PyTorch packs: attention's joined projections; and weights that it keeps in two factors.

They get the names that the unpacked layers would have, so that nothing behind needs to know.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from linger_jax.converters.files.weight_normalization import NormalisedWeight, normalised_weights
from linger_jax.errors import ConversionError

_PROJECTIONS = ("query", "key", "value")


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
      normalised: weights that the checkpoint has in two factors, by their keys.
    """

    tensors: Mapping[str, Any]
    parts: Mapping[str, Part]
    normalised: Mapping[str, NormalisedWeight]


def unpacked(tensors: Mapping[str, Any]) -> Unpacked:
    """Takes packed tensors apart, and puts normalised weights in the place of their factors."""
    attentions = {
        key.rpartition(".")[0] for key in tensors if key.rpartition(".")[2] in ("in_proj_weight", "q_proj_weight")
    }
    result: dict[str, Any] = {}
    parts: dict[str, Part] = {}
    normalised = {key: weight for key, weight in normalised_weights(tensors).items() if key not in tensors}
    factors = {weight.g_key: None for weight in normalised.values()}
    weights = {weight.v_key: key for key, weight in normalised.items()}
    for key, tensor in tensors.items():
        prefix, _, leaf = key.rpartition(".")
        if key in weights:
            result[weights[key]] = normalised[weights[key]]
        elif key in factors:
            continue
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
            if name in result:
                raise ConversionError(f"{key} is a second tensor that is called {name}")
            result[name] = tensor
    return Unpacked(result, parts, normalised)


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


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
