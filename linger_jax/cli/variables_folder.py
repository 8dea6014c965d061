"""Variables of a model as an orbax checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

from linger_jax.errors import LingerError

_METADATA = "_METADATA"


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
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            return checkpointer.restore(path.absolute())
    except Exception as error:  # orbax has no family of errors
        text = str(error).strip().splitlines()
        raise LingerError(
            f"{path}: is damaged or no orbax checkpoint ({text[0] if text else type(error).__name__})"
        ) from None
