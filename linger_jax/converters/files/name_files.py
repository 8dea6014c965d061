"""Names kept in a YAML file, to be reused."""

from __future__ import annotations

import os
from collections.abc import Mapping

import yaml

from linger_jax.atomic_file import atomic_file
from linger_jax.errors import ConversionError

Names = Mapping[str, str | None]


def save_names(names: Names, path: str | os.PathLike[str]) -> None:
    """Writes a mapping as YAML; a failure leaves no partial file.

    Raises:
      ConversionError: it cannot be written.
    """
    try:
        with atomic_file(path) as partial:
            partial.write_text(yaml.safe_dump(dict(names), sort_keys=False, width=10_000), encoding="utf-8")
    except OSError as error:
        raise ConversionError(f"{os.fspath(path)}: cannot be written ({error.strerror})") from error
