"""Files that others made: opened in one place, and whatever a parser raises over them becomes one error.

A file may be damaged, hostile or no file at all. A reader gives what it holds, or one error of ``LingerError`` that
names the file; it never waits for ever, and takes no more memory than the file asks for honestly.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from linger_jax.errors import LingerError

LONGEST_NAME = 1000
"""Characters of the name of a tensor, node or parameter; the longest that frameworks write have a few hundred."""
_LONGEST_REASON = 300


@contextlib.contextmanager
def foreign_file(
    path: str | os.PathLike[str],
    error: type[LingerError],
    what: str,
    remedy: str = "",
    *,
    most_bytes: int | None = None,
) -> Iterator[Path]:
    """A regular file to be read in the block.

    Args:
      path: of the file.
      error: class of the errors.
      what: what the file should be, for messages: ``YAML file``.
      remedy: what to do where it is none.
      most_bytes: that are read of such a file.

    Yields:
      The path.

    Raises:
      LingerError: of the class ``error``: there is no such file, it is no regular one or too large, or the block
        raised. An error of the family passes as it is once it names the file.
    """
    name = os.fspath(path)
    with translated(name, error, f"is truncated, damaged or no {what}", remedy):
        file = Path(path)
        _require_regular(file, error, most_bytes)
        yield file


@contextlib.contextmanager
def translated(where: str, error: type[LingerError], complaint: str, remedy: str = "") -> Iterator[None]:
    """Turns whatever the block raises into one error that says where.

    Args:
      where: the file, or what else is read.
      error: class of the error.
      complaint: what an exception of a parser means.
      remedy: what to do.

    Raises:
      LingerError: of the class ``error``. One of the family passes as it is where it says where, else it is told so.
    """
    try:
        yield
    except LingerError as own:
        if where in str(own):
            raise
        raise error(f"{where}: {own}") from own
    except OSError as system:
        if system.strerror is None:
            raise error(f"{where}: {complaint} ({reason(system)}){_advice(remedy)}") from system
        raise error(f"{where}: cannot be read ({system.strerror})") from system
    except Exception as foreign:
        raise error(f"{where}: {complaint} ({reason(foreign)}){_advice(remedy)}") from foreign


def reason(error: BaseException) -> str:
    """The kind of an exception and the first line of its message."""
    kind = type(error).__name__
    lines = str(error).strip().splitlines()
    return f"{kind}: {lines[0].split('. ')[0][:_LONGEST_REASON]}" if lines else kind


def require_name(name: str, where: str, error: type[LingerError]) -> str:
    """A name from a file, where it can be shown and looked for.

    Args:
      name: of a tensor, node or parameter.
      where: the file.
      error: class of the error.

    Raises:
      LingerError: of the class ``error``: it is too long, or holds characters that are no text.
    """
    if len(name) > LONGEST_NAME:
        raise error(f"{where}: holds a name of {len(name):,} characters, {name[:40]!r}...; at most {LONGEST_NAME}")
    if not name.isprintable():
        raise error(f"{where}: holds the name {name!a}; names are of characters that can be printed")
    return name


def _require_regular(file: Path, error: type[LingerError], most_bytes: int | None) -> None:
    try:
        found = file.stat()
    except FileNotFoundError:
        raise error(f"{file}: no such file") from None
    if stat.S_ISDIR(found.st_mode):
        raise error(f"{file}: is a folder, not a file; name the file itself")
    if not stat.S_ISREG(found.st_mode):
        raise error(f"{file}: is not a file but a pipe, socket or device, which may never end; copy it to a file")
    if most_bytes is not None and found.st_size > most_bytes:
        raise error(f"{file}: has {found.st_size:,} bytes; such a file has at most {most_bytes:,}")


def _advice(remedy: str) -> str:
    return f"; {remedy}" if remedy else ""
