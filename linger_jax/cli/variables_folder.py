"""Variables of a model as an orbax checkpoint."""

from __future__ import annotations

import gc
import math
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from linger_jax.converters.files import FOLDER_FILES
from linger_jax.errors import LingerError
from linger_jax.foreign_file import reason

_METADATA = "_METADATA"
_MOST_COMPRESSED = 1 << 29
"""Bytes of arrays beyond those of the files, which are compressed."""


def write_variables(path: Path, variables: Mapping[str, Any]) -> None:
    """Writes a new folder, which appears only when all is written.

    Raises:
      LingerError: it cannot be made.
    """
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(path.absolute(), {name: entries for name, entries in variables.items() if entries})
    except (OSError, ValueError) as error:
        raise LingerError(f"{path}: cannot be written ({str(error).splitlines()[0]})") from error


def is_variables_folder(path: Path) -> bool:
    """Whether a folder is an orbax checkpoint."""
    return (path / _METADATA).is_file()


def read_variables(path: Path) -> Any:
    """Everything in a folder, as nested dicts.

    Raises:
      LingerError: it is damaged.
    """
    failure = ""
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            held = _bytes_of(path)
            shapes = jax.tree.leaves(checkpointer.metadata(path.absolute()).item_metadata.tree)
            claimed = sum(math.prod(entry.shape) * np.dtype(entry.dtype).itemsize for entry in shapes)
            if claimed > held + _MOST_COMPRESSED:
                raise LingerError(f"{path}: its arrays claim {claimed:,} bytes, its files have {held:,}")
            return checkpointer.restore(path.absolute())
    except LingerError:
        raise
    except Exception as error:  # orbax has no family of errors
        failure = reason(error)
    _end_what_was_begun()
    raise LingerError(f"{path}: is damaged or no orbax checkpoint ({failure})")


def _end_what_was_begun() -> None:
    """Arrays that orbax was reading beside the one that failed: each would print a traceback when it is forgotten."""
    told = sys.unraisablehook
    sys.unraisablehook = lambda _: None
    try:
        gc.collect()
    finally:
        sys.unraisablehook = told


def require_checkpoint_folder(path: Path) -> None:
    """Says what a folder may be, where it is neither a checkpoint of ours nor one of PyTorch's.

    Raises:
      LingerError: it is neither.
    """
    if path.is_dir() and not is_variables_folder(path) and not any((path / name).is_file() for name in FOLDER_FILES):
        raise LingerError(
            f"{path}: is no checkpoint: it has neither {_METADATA} (orbax, as convert and save write it) nor one of "
            f"{', '.join(FOLDER_FILES)}"
        )


def _bytes_of(path: Path) -> int:
    """Bytes of all files, each of which is a regular one."""
    total = 0
    for file in path.rglob("*"):
        found = file.stat()
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
            raise LingerError(f"{file}: is not a file but a pipe, socket or device")
        total += found.st_size
    return total
