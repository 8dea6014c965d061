"""What the system says of a file or folder that cannot be written, as an error of linger_jax."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from linger_jax.errors import FileError

_WHAT_TO_DO = {
    errno.EISDIR: "name a file in it",
    errno.ENOTDIR: "what should be a folder is a file; name another place",
    errno.EEXIST: "name another place, or remove what is there",
    errno.EACCES: "name a place that you may write to",
    errno.EPERM: "name a place that you may write to",
    errno.EROFS: "name a place that you may write to",
    errno.ENOSPC: "make room, or name a place on another disk",
    errno.EDQUOT: "make room, or name a place on another disk",
    errno.EFBIG: "make room, or name a place on another disk",
    errno.ENAMETOOLONG: "a name has 255 bytes at most on most file systems; shorten it",
    errno.ELOOP: "the links of the path go in a circle; mend them",
    errno.EPIPE: "the program that reads has ended; start it again",
}
_ELSE_TO_DO = "name another place"


def checked_path(path: str | os.PathLike[str]) -> Path:
    """A path that the system can be asked about.

    Raises:
      FileError: it holds a NUL character, or characters that file names here cannot have.
    """
    try:
        text = os.fsencode(path)
    except UnicodeEncodeError as error:
        raise FileError(
            f"{_shown(path)}: cannot be written (no file name has {error.object[error.start]!r}); name another file"
        ) from error
    if b"\0" in text:
        raise FileError(f"{_shown(path)}: cannot be written (the path holds a NUL character); take it out")
    return Path(path)


@contextlib.contextmanager
def file_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Errors of the system inside the block are told as errors of writing ``path``.

    Raises:
      FileError: instead of an ``OSError``: one line of path, reason and what to do.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or next(iter(str(error).splitlines()), type(error).__name__)
        remedy = _WHAT_TO_DO.get(error.errno or 0, _ELSE_TO_DO)
        raise FileError(f"{_shown(path)}: cannot be written ({reason}); {remedy}") from error


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Makes a folder, and those above it, where it is missing.

    Raises:
      FileError: it cannot be made.
    """
    folder = checked_path(path)
    with file_errors(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from error
    return folder


def _shown(path: str | os.PathLike[str]) -> str:
    """A path in one line, whatever characters it has."""
    text = os.fspath(path)
    return text if text.isprintable() else ascii(text)
