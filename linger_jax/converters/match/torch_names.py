"""What a variable of a Flax model is called in PyTorch: as an import found it, as the user says, or by its own path."""

from __future__ import annotations

import re
from collections.abc import Mapping

from linger_jax.converters.files import split_quantizer_key
from linger_jax.converters.report import ImportReport, ImportRow
from linger_jax.errors import ConversionError

# nn.Sequential of Flax calls its layers layers_0, layers_1; PyTorch's 0, 1.
_SEQUENTIAL = re.compile(r"layers_(\d+)")
_ITERATION = re.compile(r"(.*)\[(\d+)\]")
_COLLECTIONS = ("params", "batch_stats", "quant")

Naming = ImportReport | Mapping[str, str | None] | None


class TorchNames:
    """Names for an export.

    Args:
      naming: the report of the import that the variables came from; or a mapping like that of ``from_torch``, PyTorch
        key, module or operator to Flax path; or None.

    Raises:
      ConversionError: rules, which lead one way only.
    """

    def __init__(self, naming: Naming) -> None:
        self._rows: dict[str, ImportRow] = {}
        self._variables: dict[str, str] = {}
        self._modules: dict[str, str] = {}
        self._sites: dict[str, str] = {}
        if isinstance(naming, ImportReport):
            self._rows = {row.path: row for row in naming.rows}
            pairs = [(row.key, row.path) for row in naming.rows]
        elif naming is not None and not isinstance(naming, Mapping):
            raise ConversionError("mapping: names are wanted for the way back, or the report of an import; no rules")
        else:
            pairs = [(name, path.replace("/", ".")) for name, path in (naming or {}).items() if path is not None]
        for name, path in pairs:
            self._note(name, path)

    def _note(self, name: str, path: str) -> None:
        head, iteration = _without_iteration(path)
        suffix = "" if iteration is None else f"[{iteration}]"
        ours = split_quantizer_key(head)
        theirs = split_quantizer_key(name)
        if ours is not None and theirs is not None:
            self._sites.setdefault(_without_collection(ours[0]) + suffix, theirs[0])
            return
        self._variables[_without_collection(head) + suffix] = name
        if head.startswith(_COLLECTIONS):
            module = _without_collection(head).rpartition(".")[0]
            if module:
                self._modules.setdefault(module + suffix, name.rpartition(".")[0])
        else:
            self._modules.setdefault(head + suffix, name)
            self._sites.setdefault(head + suffix, name)

    def row(self, path: str) -> ImportRow | None:
        """How the import filled a variable: path with its collection, ``[3]`` behind it for an iteration of a scan."""
        return self._rows.get(path)

    def key(self, path: str, leaf: str, iteration: int | None = None) -> str:
        """Key of a variable.

        Args:
          path: dotted path without the collection.
          leaf: what PyTorch calls it inside the layer.
          iteration: of the scan.
        """
        suffix = "" if iteration is None else f"[{iteration}]"
        known = self._variables.get(path + suffix)
        return known if known is not None else _joined(self.module(path.rpartition(".")[0], iteration), leaf)

    def module(self, path: str, iteration: int | None = None) -> str:
        """Name of a module."""
        suffix = "" if iteration is None else f"[{iteration}]"
        parts = path.split(".") if path else []
        for count in range(len(parts), -1, -1):
            head = ".".join(parts[:count])
            for known, number in ((head + suffix, None), (head, iteration)):
                if known in self._modules:
                    return _joined(self._modules[known], *_default(parts[count:], number))
        return ".".join(_default(parts, iteration))

    def place(self, path: str, iteration: int | None = None) -> str:
        """Name of the module that a place of quantizers is in linger; of a layer or an operator."""
        suffix = "" if iteration is None else f"[{iteration}]"
        known = self._sites.get(path + suffix)
        return known if known is not None else self.module(path, iteration)

    def names_place(self, path: str) -> bool:
        """Whether the import or the user has said what an operator is called."""
        return path in self._sites or f"{path}[0]" in self._sites


def _without_collection(path: str) -> str:
    head, _, rest = path.partition(".")
    return rest if head in _COLLECTIONS else path


def _without_iteration(path: str) -> tuple[str, int | None]:
    found = _ITERATION.fullmatch(path)
    return (path, None) if found is None else (found[1], int(found[2]))


def _joined(*names: str) -> str:
    return ".".join(name for name in names if name)


def _default(parts: list[str], iteration: int | None) -> list[str]:
    """A path in PyTorch's manner; the iterations of a scan are the entries of a list."""
    names = [_SEQUENTIAL.sub(r"\1", part) for part in parts]
    return names if iteration is None else [*names[:1], str(iteration), *names[1:]]
