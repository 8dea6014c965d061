"""Writing folders so that a failure leaves the older one, or none."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from linger_jax.file_errors import checked_path, file_errors, make_folder
from linger_jax.partial_files import SPARE, partial_folder

_OF_PATH, _EXCHANGE = -100, 2
"""``AT_FDCWD`` and ``RENAME_EXCHANGE`` of Linux's ``renameat2``."""


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str], *, replace: bool = False) -> Iterator[Path]:
    """A place to make a folder at; it takes its own place when the block ends without an error.

    An older folder stays whole until then, and the new one has its permissions. What a process that was killed had
    begun to write for the same path is removed.

    Args:
      path: the folder.
      replace: put it in the place of one that is there; else that is an error.

    Yields:
      A path at which the block makes the folder.

    Raises:
      FileError: the folder cannot be written; so is any ``OSError`` inside the block told.
    """
    named = checked_path(path)
    with file_errors(named):
        target = Path(os.path.realpath(named))
        _check_place(target, replace)
        make_folder(target.parent)
        with partial_folder(target) as scratch:
            new = scratch / "new"
            yield new
            _sync(new)
            _check_place(target, replace)
            if target.exists():
                new.chmod(stat.S_IMODE(target.stat().st_mode))
            try:
                os.rename(new, target)
            except OSError as error:
                if not replace or error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                _exchange(new, target, scratch / SPARE)


def _check_place(target: Path, replace: bool) -> None:
    try:
        mode = os.lstat(target).st_mode
    except FileNotFoundError:
        return
    if not replace:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    if not stat.S_ISDIR(mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))


def _exchange(new: Path, target: Path, spare: Path) -> None:
    """Lets two folders change places, at once where the system can do so.

    Elsewhere in two steps. A process that is killed between them leaves the older folder at ``spare``, from where the
    next one to write moves it back.
    """
    exchange = getattr(ctypes.CDLL(None), "renameat2", None)
    if exchange is not None:
        paths = (ctypes.c_char_p(os.fsencode(path)) for path in (new, target))
        source, destination = paths
        if exchange(_OF_PATH, source, _OF_PATH, destination, ctypes.c_uint(_EXCHANGE)) == 0:
            return
    os.rename(target, spare)
    os.rename(new, target)


def _sync(folder: Path) -> None:
    """Waits until every file of a folder is on the disk."""
    for parent, _, names in os.walk(folder):
        for name in names:
            descriptor = os.open(os.path.join(parent, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
