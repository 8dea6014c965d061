"""Writing files so that a failure leaves no partial file: the one way in which linger_jax writes any."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from linger_jax.errors import FileError
from linger_jax.file_errors import checked_path, file_errors, make_folder
from linger_jax.partial_files import partial_file
from linger_jax.write_through import is_written_through, write_through

_NEW, _PRIVATE = 0o666, 0o600


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str], *, make_folders: bool = True) -> Iterator[BinaryIO]:
    """A stream to write a file to; the file takes its place when the block ends without an error.

    An older file stays until then, and the new one has its permissions and owner. A link keeps pointing at its file. A
    device or a pipe gets everything at the end of the block. What a process that was killed had begun to write for the
    same path is removed.

    Args:
      path: the file.
      make_folders: make missing folders above it; else they are an error.

    Yields:
      A stream that can seek.

    Raises:
      FileError: the file cannot be written; so is any ``OSError`` inside the block told.
    """
    named = checked_path(path)
    with file_errors(named):
        if is_written_through(named):
            content = io.BytesIO()
            yield content
            write_through(named, content.getbuffer())
            return
        target = Path(os.path.realpath(named))
        older = _older(target)
        if make_folders:
            make_folder(target.parent)
        elif not target.parent.is_dir():
            raise FileError(f"{named}: cannot be written (there is no folder {named.parent}); make it first")
        with partial_file(target, _NEW if older is None else _PRIVATE) as (partial, stream):
            yield stream
            stream.flush()
            os.fsync(stream.fileno())  # else a machine that stops may have the new name and none of the bytes
            if older is not None:
                _keep_owner(stream.fileno(), older)
            os.replace(partial, target)


def write_file(path: str | os.PathLike[str], content: bytes | memoryview | str, *, make_folders: bool = True) -> None:
    """Writes a file in one step, as ``atomic_file``; text as UTF-8.

    Raises:
      FileError: it cannot be written.
    """
    with atomic_file(path, make_folders=make_folders) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


def _older(target: Path) -> os.stat_result | None:
    """Of the file that is there.

    Raises:
      OSError: it is a folder, or the user may not write it.
    """
    try:
        found = os.stat(target)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return found


def _keep_owner(descriptor: int, older: os.stat_result) -> None:
    with contextlib.suppress(PermissionError):  # another user's file, in a folder that both may write
        os.fchown(descriptor, older.st_uid, older.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(older.st_mode))
