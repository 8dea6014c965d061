"""Writing files so that a failure leaves no partial file."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A place to write a file to; it takes the file's place when the block ends without an error.

    An older file stays until then. A link keeps pointing at its file; missing folders are made.

    Args:
      path: the file.

    Yields:
      A path in the same folder. It is gone after the block in any case.
    """
    target = Path(path).resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.{threading.get_ident()}.partial")
    try:
        yield partial
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
