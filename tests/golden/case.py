"""Golden cases on disk: which files below a directory are cases, and what one file holds.

A case is a compressed ``.npz`` with a ``meta`` entry (a JSON object), or a configuration:
``config_<name>.expected.json`` with ``config_<name>.yaml`` beside it where the case is a file. A checkpoint's ``.pt``
stands beside the ``.npz`` of its stem. A device case is a folder with a ``case.json`` beside an ``io.npz``; it goes by
the folder's name. Other files are not cases.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray]

CONFIG_SUFFIX = ".expected.json"
DEVICE_FILE = "case.json"
_OF_EXECUTORS = ("formula", "network")


class UnreadableCaseError(ValueError):
    """A file that should be a case and cannot be read."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One case: its file, its description, its arrays, and a folder for files that its replay should leave."""

    path: Path
    name: str
    meta: Mapping[str, Any]
    arrays: Arrays
    keep: Path | None = None

    @property
    def family(self) -> str:
        """As described; ``config`` for configurations, ``formula`` and ``network`` of executors."""
        return str(self.meta.get("family") or next((name for name in _OF_EXECUTORS if name in self.meta), "?"))

    @property
    def op(self) -> str:
        """The operator or model that the case is about."""
        names = (self.meta.get(key) for key in ("op", "model", *_OF_EXECUTORS))
        return str(next((name for name in names if name), "-"))

    def group(self, prefix: str) -> dict[str, np.ndarray]:
        """Arrays whose key starts with ``prefix.`` or ``prefix/``, by the rest of the key."""
        return {
            key[len(prefix) + 1 :]: a for key, a in self.arrays.items() if key.startswith((prefix + ".", prefix + "/"))
        }


def find_cases(root: Path, pattern: str = "*") -> list[Path]:
    """Files of cases below ``root`` whose case name matches a glob, in name order."""
    found = [*root.rglob("*.npz"), *root.rglob("config_*" + CONFIG_SUFFIX), *root.rglob(DEVICE_FILE)]
    return sorted(p for p in found if fnmatch.fnmatch(case_name(p), pattern) and _is_case(p))


def case_name(path: Path) -> str:
    """Name of the case in a file."""
    if path.name == DEVICE_FILE:
        return path.parent.name
    return path.name.removesuffix(CONFIG_SUFFIX) if path.name.endswith(CONFIG_SUFFIX) else path.stem


def read_case(path: Path) -> Case:
    """Reads one case.

    Raises:
      UnreadableCaseError: the file is damaged or its ``meta`` is not a JSON object.
    """
    name = case_name(path)
    try:
        if path.name.endswith(CONFIG_SUFFIX):
            expected = json.loads(path.read_text())
            return Case(path, name, {"family": "config", "op": "config", "expected": expected}, {})
        if path.name == DEVICE_FILE:
            described = json.loads(path.read_text())
            with np.load(path.with_name("io.npz"), allow_pickle=False) as file:
                arrays = {key: file[key] for key in file.files}
            return Case(path, name, {**described, "family": "device", "op": described["platform"]}, arrays)
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        meta = json.loads(str(arrays.pop("meta")))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UnreadableCaseError(f"cannot be read: {error}") from error
    if not isinstance(meta, dict):
        raise UnreadableCaseError("its meta is not a JSON object")
    return Case(path, name, meta, arrays)


def _is_case(path: Path) -> bool:
    """Whether a file is a case; a damaged one counts as one, so that it is reported."""
    if path.suffix != ".npz":
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            return "meta.npy" in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return True
