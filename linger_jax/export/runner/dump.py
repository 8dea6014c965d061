"""Writing every tensor of a run, one file a tensor."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from linger_jax.atomic_file import atomic_file
from linger_jax.errors import ExportError
from linger_jax.export.runner.integer_tensor import IntegerTensor, Value
from linger_jax.file_errors import make_folder

DumpFormat = Literal["float", "quantized", "all"]
_LONGEST_STEM = 200
"""Bytes; the number at its beginning tells files apart, and a file system takes 255 with what is added."""


def write_dump(values: Mapping[str, Value], folder: Path, dump_format: DumpFormat) -> list[Path]:
    """Writes tensors as ``<name>.float.npy`` (real numbers) and ``<name>.quantized.npy`` (integers).

    Args:
      values: tensors by name; those that are not quantized have real numbers alone.
      folder: created where it is missing.
      dump_format: which of the two.

    Returns:
      The files.

    Raises:
      ExportError: an unknown format.
      FileError: a file or the folder cannot be written.
    """
    if dump_format not in get_args(DumpFormat):
        raise ExportError(f"dump_format is {dump_format!r}; allowed: {', '.join(get_args(DumpFormat))}")
    make_folder(folder)
    written = []
    for index, (name, value) in enumerate(values.items()):
        stem = f"{index:04d}_{re.sub(r'[^A-Za-z0-9._-]', '_', name)}"[:_LONGEST_STEM]
        quantized = isinstance(value, IntegerTensor)
        if quantized and dump_format in ("quantized", "all"):
            written.append(_write(folder / f"{stem}.quantized.npy", np.asarray(value.value)))
        if not quantized or dump_format in ("float", "all"):
            written.append(_write(folder / f"{stem}.float.npy", np.asarray(value.real() if quantized else value)))
    return written


def _write(path: Path, array: npt.NDArray[Any]) -> Path:
    with atomic_file(path) as file:
        np.save(file, array)
    return path
