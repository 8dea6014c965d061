"""Names kept in a YAML file, to be reused."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import yaml

from linger_jax.errors import ConversionError

Names = Mapping[str, str | None]


def save_names(names: Names, path: str | os.PathLike[str]) -> None:
    """Writes a mapping as YAML; a failure leaves no partial file.

    Raises:
      ConversionError: it cannot be written.
    """
    target = Path(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.write_text(yaml.safe_dump(dict(names), sort_keys=False, width=10_000), encoding="utf-8")
        partial.replace(target)
    except OSError as error:
        raise ConversionError(f"{target}: cannot be written ({error.strerror})") from error
    finally:
        partial.unlink(missing_ok=True)
