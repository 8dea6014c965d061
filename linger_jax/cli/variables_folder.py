"""Variables of a model as an orbax checkpoint."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from linger_jax.atomic_folder import atomic_folder
from linger_jax.errors import LingerError

_METADATA = "_METADATA"
_BESIDE, _BESIDE_LEAF = 1 << 17, 1 << 10
"""Bytes that orbax writes beside the arrays: for the folder and for each array."""


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
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            return checkpointer.restore(path.absolute())
    except Exception as error:  # orbax has no family of errors
        text = str(error).strip().splitlines()
        raise LingerError(
            f"{path}: is damaged or no orbax checkpoint ({text[0] if text else type(error).__name__})"
        ) from None
