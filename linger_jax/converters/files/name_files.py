"""Names kept in a YAML file, to be reused."""

from __future__ import annotations

import os
from collections.abc import Mapping

import yaml

from linger_jax.atomic_file import write_file

Names = Mapping[str, str | None]


def save_names(names: Names, path: str | os.PathLike[str]) -> None:
    """Writes a mapping as YAML; a failure leaves no partial file.

    Raises:
      FileError: it cannot be written.
    """
    write_file(path, yaml.safe_dump(dict(names), sort_keys=False, width=10_000))
