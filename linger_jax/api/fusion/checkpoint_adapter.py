"""Renaming the keys of a PyTorch checkpoint for a model whose convolutions hold their normalization.

linger's ``trace_layers`` puts a convolution and the batch normalization behind it into one module; a checkpoint of the
model as it was before then needs its keys renamed (docs/specification/layers.md section 5.3).
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, MutableMapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from linger_jax.atomic_file import write_file
from linger_jax.bounded_yaml import MOST_BYTES, YamlDocument
from linger_jax.errors import ConversionError
from linger_jax.foreign_file import foreign_file, translated

_CONV_KEYS = ("weight", "bias")
_NORM_KEYS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
# The reference leaves one dummy parameter in the place of a fused batch normalization.
_PLACEHOLDER = "_linger_ignore_parameter"

Checkpoint = TypeVar("Checkpoint", bound=MutableMapping[str, Any])


@dataclasses.dataclass(frozen=True)
class CheckpointAdapter:
    """Fused layers by their dotted names, as ``trace_layers`` found them.

    Attributes:
      pairs: ``(convolution, batch normalization)``, in execution order.
    """

    pairs: tuple[tuple[str, str], ...] = ()

    def __init__(self, pairs: Iterable[Iterable[str]] = ()) -> None:
        object.__setattr__(self, "pairs", tuple(_pair(pair) for pair in pairs))

    def adapt(self, checkpoint: Checkpoint, prefix: str = "") -> Checkpoint:
        """Renames the keys of unfused layers, in place; applying it twice changes nothing.

        ``<conv>.weight`` becomes ``<conv>.conv.weight``, ``<norm>.running_mean`` becomes ``<conv>.bn.running_mean``,
        and so on. A pair whose ``<conv>.conv.weight`` (or whose placeholder of the reference) is there already stays.

        Args:
          checkpoint: a state dict.
          prefix: what stands before every key, the dot included (``"module."``).

        Returns:
          The same mapping.
        """
        for conv, norm in self.pairs:
            at, before = f"{prefix}{conv}.", f"{prefix}{norm}."
            if f"{at}conv.weight" in checkpoint or f"{before}{_PLACEHOLDER}" in checkpoint:
                continue
            renamed = {f"{at}{key}": f"{at}conv.{key}" for key in _CONV_KEYS}
            renamed |= {f"{before}{key}": f"{at}bn.{key}" for key in _NORM_KEYS}
            for old, new in renamed.items():
                if old in checkpoint:
                    checkpoint[new] = checkpoint.pop(old)
        return checkpoint

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the pairs to a file: JSON, or YAML where the name ends in ``.yaml`` or ``.yml``.

        A failure leaves no partial file; folders above it are made.

        Raises:
          FileError: the file cannot be written.
        """
        content = {"pairs": [list(pair) for pair in self.pairs]}
        text = yaml.safe_dump(content) if _is_yaml(Path(path)) else json.dumps(content, indent=2) + "\n"
        write_file(path, text)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CheckpointAdapter:
        """Reads what ``save`` wrote.

        Raises:
          ConversionError: the file cannot be read or holds something else.
        """
        with foreign_file(path, ConversionError, "list of fused layers", most_bytes=MOST_BYTES) as source:
            text = source.read_text(encoding="utf-8")
            content = YamlDocument(text).value() if _is_yaml(source) else json.loads(text)
        if not isinstance(content, dict) or set(content) != {"pairs"} or not isinstance(content["pairs"], list):
            raise ConversionError(f"{source}: expected one key 'pairs' with a list of [convolution, normalization]")
        with translated(str(source), ConversionError, "is no list of fused layers"):
            return cls(content["pairs"])


def _is_yaml(path: Path) -> bool:
    return path.suffix in (".yaml", ".yml")


def _pair(given: Iterable[str]) -> tuple[str, str]:
    names = () if isinstance(given, str) else tuple(given) if isinstance(given, Iterable) else ()
    if len(names) != 2 or not all(isinstance(name, str) and name for name in names):
        raise ConversionError(
            f"a pair of fused layers is (name of the convolution, name of the batch normalization), got {given!r}"
        )
    return names[0], names[1]
