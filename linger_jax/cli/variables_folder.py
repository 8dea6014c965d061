"""Variables of a model as an orbax checkpoint."""

from __future__ import annotations

import contextlib
import errno
import gc
import logging
import math
import os
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from linger_jax.atomic_folder import atomic_folder
from linger_jax.converters.files import FOLDER_FILES
from linger_jax.errors import LingerError
from linger_jax.foreign_file import reason

_METADATA = "_METADATA"
_BESIDE, _BESIDE_LEAF = 1 << 17, 1 << 10
"""Bytes that orbax writes beside the arrays: for the folder and for each array."""
_MOST_COMPRESSED = 1 << 29
"""Bytes of arrays beyond those of the files, which are compressed."""


def write_variables(path: Path, variables: Mapping[str, Any]) -> None:
    """Writes a new folder, which appears only when all is written.

    Raises:
      FileError: it cannot be made.
    """
    write_checkpoint(path, {name: entries for name, entries in variables.items() if entries})


def write_checkpoint(path: Path, tree: Any, *, replace: bool = False) -> None:
    """Writes a tree of arrays as a folder, which appears, or changes, only when all is written.

    Args:
      path: the folder.
      tree: what orbax's ``StandardCheckpointer`` takes.
      replace: put it in the place of one that is there; else that is an error.

    Raises:
      FileError: it cannot be written.
    """
    with atomic_folder(path, replace=replace) as folder, _without_tracebacks():
        _require_room(folder.parent, tree)
        try:
            with ocp.StandardCheckpointer() as checkpointer:
                checkpointer.save(folder.absolute(), tree)
        except Exception as error:  # orbax has no family of errors
            raise _as_system_error(error) from error


def _require_room(folder: Path, tree: Any) -> None:
    """Asks for the room that the arrays take before any is written.

    Of several that orbax writes at once, it waits for none when the first one fails; the others go on, into a folder
    that is being removed.

    Raises:
      OSError: there is not enough.
    """
    if not hasattr(os, "posix_fallocate"):
        return  # macOS
    leaves = [leaf for leaf in jax.tree.leaves(tree) if hasattr(leaf, "nbytes")]
    with tempfile.TemporaryFile(dir=folder) as file:
        os.posix_fallocate(file.fileno(), 0, sum(leaf.nbytes for leaf in leaves) + _BESIDE + _BESIDE_LEAF * len(leaves))


def _as_system_error(error: Exception) -> OSError:
    """Of the text that orbax gives, which ends with the system's reason and names files that are gone."""
    text = str(error)
    number = next((number for number in errno.errorcode if os.strerror(number) in text), None)
    return OSError(text) if number is None else OSError(number, os.strerror(number))


@contextlib.contextmanager
def _without_tracebacks() -> Iterator[None]:
    """Each of orbax's threads logs an error that it also raises."""

    def is_ours(record: logging.LogRecord) -> bool:
        return "orbax" not in Path(record.pathname).parts

    logger = logging.getLogger("absl")
    logger.addFilter(is_ours)
    try:
        yield
    finally:
        logger.removeFilter(is_ours)


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
