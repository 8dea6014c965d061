"""What the user's ``mapping`` names on both sides: a tensor, a module, or a whole part of the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence

from linger_jax.converters.model import ModelLayer
from linger_jax.converters.report import ImportProblems
from linger_jax.nearest_name import nearest_name
from linger_jax.typing import Path


@dataclasses.dataclass(frozen=True)
class MappingEntry:
    """One resolved entry.

    Attributes:
      torch: key of a tensor, or prefix of modules; empty for the whole state dict.
      is_key: it is the key of one tensor.
      variable: path of the variable, where it is one.
      module: path of the module, where it is one; ``()`` for the whole model.
      iteration: of a scanned layer written as ``name[3]``.
      dropped: nothing of it is wanted.
    """

    torch: str
    is_key: bool
    variable: Path | None = None
    module: Path | None = None
    iteration: int | None = None
    dropped: bool = False


def resolve_mapping(
    mapping: Mapping[str, str | None],
    keys: Collection[str],
    modules: Collection[str],
    layers: Sequence[ModelLayer],
    variables: Collection[Path],
    problems: ImportProblems,
) -> list[MappingEntry]:
    """Finds what each entry means, the most specific first; names that mean nothing become problems.

    Args:
      mapping: PyTorch key or prefix to dotted Flax path, or to None.
      keys: of the state dict.
      modules: names of its modules that are no prefixes of keys: the layers of a recurrent one (``rnn.l1``).
      layers: layers of the model.
      variables: paths of all variables of the model.
      problems: takes the names that nothing has.
    """
    prefixes = {prefix for key in keys for prefix in _prefixes(key)}
    labels = {layer.label: layer for layer in layers}
    prefixes |= set(modules)
    places = {path[:n] for layer in layers for path in [layer.path] for n in range(len(path) + 1)}
    places |= {path[1:n] for path in variables for n in range(1, len(path))}
    entries = []
    for torch_name, flax_name in mapping.items():
        is_key = torch_name in keys
        if not is_key and torch_name not in prefixes:
            problems.add_text(
                f"mapping: the checkpoint has no key or module {torch_name!r}{_nearest(torch_name, [*prefixes, *keys])}"
            )
            continue
        if flax_name is None:
            entries.append(MappingEntry(torch_name, is_key, dropped=True))
            continue
        path = tuple(name for name in flax_name.replace("/", ".").split(".") if name)
        variable = next((p for p in variables if p == path or p[1:] == path), None)
        layer = labels.get(flax_name)
        if layer is not None:
            entries.append(MappingEntry(torch_name, is_key, module=layer.path, iteration=layer.iteration))
        elif variable is not None and is_key:
            entries.append(MappingEntry(torch_name, is_key, variable=variable))
        elif path in places:
            entries.append(MappingEntry(torch_name, is_key, module=path))
        else:
            named = [".".join(p) for p in places if p] + [".".join(p[1:]) for p in variables]
            what = "variable" if is_key else "module"
            problems.add_text(f"mapping: the model has no {what} {flax_name!r}{_nearest(flax_name, named)}")
    return sorted(entries, key=lambda entry: (not entry.is_key, -len(entry.torch)))


def _prefixes(key: str) -> list[str]:
    parts = key.split(".")
    return ["", *(".".join(parts[:n]) for n in range(1, len(parts)))]


def _nearest(name: str, candidates: Sequence[str]) -> str:
    near = nearest_name(name, [c for c in candidates if c])
    return f"; nearest: {near!r}" if near else ""
