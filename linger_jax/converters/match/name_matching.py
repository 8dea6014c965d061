"""Matching by name: dotted names that are equal but for case, underscores and the way lists are written."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from linger_jax.converters.model import ModelLayer
from linger_jax.converters.report import folded_name
from linger_jax.converters.weights import TorchModule, layer_signature, module_signature, same_sort

# Flax names a submodule Conv_0 where the user gave no name: it says nothing about PyTorch's name.
_AUTOMATIC = re.compile(r"[A-Z]\w*_\d+")
# nn.Sequential of Flax calls its layers layers_0, layers_1; PyTorch's 0, 1.
_SEQUENTIAL = re.compile(r"(^|\.)layers_(?=\d+(\.|$))")


def is_automatic(path: Iterable[str]) -> bool:
    """Whether a name on the path was made up by Flax."""
    return any(_AUTOMATIC.fullmatch(name) for name in path)


def flax_names(path: Sequence[str]) -> tuple[str, ...]:
    """Folded names a path may have in PyTorch."""
    if is_automatic(path):
        return ()
    dotted = ".".join(path)
    return tuple(dict.fromkeys((folded_name(dotted), folded_name(_SEQUENTIAL.sub(r"\1", dotted)))))


def unique_by_name(torch_names: Mapping[str, str], paths: Mapping[int, Sequence[str]]) -> list[tuple[str, int]]:
    """Pairs of names that mean each other and nothing else.

    Args:
      torch_names: what to compare, by the name to return.
      paths: what to compare, by the number to return.
    """
    candidates: dict[str, list[str]] = {}
    for name, compared in torch_names.items():
        candidates.setdefault(folded_name(compared), []).append(name)
    found = []
    for number, path in paths.items():
        names = [name for form in flax_names(path) for name in candidates.get(form, ())]
        if len(names) == 1:
            found.append((names[0], number))
    often = Counter(name for name, _ in found)
    return [(name, number) for name, number in found if often[name] == 1]


def match_by_name(
    modules: Sequence[TorchModule], layers: Sequence[ModelLayer], torch_scope: str = "", flax_scope: int = 0
) -> list[tuple[TorchModule, ModelLayer]]:
    """Pairs modules and layers of equal name that are the same sort of layer.

    Args:
      modules, slots: what is left to match.
      torch_scope: prefix that all modules share and that is not compared.
      flax_scope: how many leading names of the paths are not compared.
    """
    by_prefix = {module.prefix: module for module in modules}
    names = {prefix: module.compared[len(torch_scope) :].strip(".") for prefix, module in by_prefix.items()}
    paths = {i: layer.path[flax_scope:] for i, layer in enumerate(layers) if layer.iteration is None}
    pairs = [(by_prefix[name], layers[i]) for name, i in unique_by_name(names, paths)]
    return [(m, s) for m, s in pairs if same_sort(module_signature(m), layer_signature(s)) or _scales_axes(m, s)]


def _scales_axes(module: TorchModule, layer: ModelLayer) -> bool:
    """Whether a module that is a matrix alone is what a norm over several axes, without bias, multiplies by."""
    scale = layer.variables.get("scale")
    return (
        scale is not None
        and len(scale.shape) > 1
        and module.leaves.keys() == {"weight"}
        and math.prod(module.leaves["weight"]) == math.prod(scale.shape)
    )
