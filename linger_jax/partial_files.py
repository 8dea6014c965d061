"""What is being written, beside the place it will take: names of its own, and what a killed process left is cleared.

Who writes holds a lock on the file (``flock``). The system takes it back when the process ends, in whatever way, so a
partial file without a lock is nobody's; no process number is asked for, which a container or another machine may share.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

_SUFFIX = ".partial"
_SHOWN = 16
"""Characters of the target's name that are found again in the partial name: 64 bytes at most."""
SPARE = "old"
"""In a partial folder: what stood in the target's place, while that is empty."""


@contextlib.contextmanager
def partial_file(target: Path, mode: int) -> Iterator[tuple[Path, BinaryIO]]:
    """A new file beside ``target``, open for writing; it is gone after the block where it was not moved away.

    Args:
      target: what it will become; its folder exists.
      mode: permissions, of which the process's mask takes some away.
    """
    path, descriptor = _claimed(target, lambda path: os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
    stream = os.fdopen(descriptor, "wb")
    try:
        yield path, stream
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        with contextlib.suppress(OSError):
            stream.close()  # gives the lock back


@contextlib.contextmanager
def partial_folder(target: Path) -> Iterator[Path]:
    """A new folder beside ``target``; it is gone after the block, with everything in it."""
    path, descriptor = _claimed(target, _new_folder)
    try:
        yield path
    finally:
        try:
            _remove_folder(path, target)
        finally:
            os.close(descriptor)


def _new_folder(path: Path) -> int:
    path.mkdir(mode=0o700)
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY)


def _claimed(target: Path, make: Callable[[Path], int]) -> tuple[Path, int]:
    """Makes something under a name of its own and locks it: the path and the open descriptor."""
    _clear_abandoned(target)
    while True:
        path = target.with_name(f"{_prefix(target)}{secrets.token_hex(8)}{_SUFFIX}")
        descriptor = None
        try:
            descriptor = make(path)
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if path.exists():
                return path, descriptor
        except FileNotFoundError:
            if not target.parent.is_dir():
                raise
        # Taken for abandoned by another writer, before it was locked.
        if descriptor is not None:
            os.close(descriptor)


def _prefix(target: Path) -> str:
    digest = hashlib.blake2b(os.fsencode(target.name), digest_size=6).hexdigest()
    return f".{target.name[:_SHOWN]}.{digest}."


def _clear_abandoned(target: Path) -> None:
    """Removes what processes that were killed left of the same target; what is being written stays."""
    prefix, found = _prefix(target), []
    with contextlib.suppress(OSError), os.scandir(target.parent) as entries:
        found = [entry for entry in entries if entry.name.startswith(prefix) and entry.name.endswith(_SUFFIX)]
    for entry in found:
        with contextlib.suppress(OSError):
            is_folder = entry.is_dir(follow_symlinks=False)
            descriptor = os.open(entry.path, (os.O_RDONLY if is_folder else os.O_RDWR) | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if is_folder:
                    _remove_folder(Path(entry.path), target)
                else:
                    os.unlink(entry.path)
            finally:
                os.close(descriptor)


def _remove_folder(path: Path, target: Path) -> None:
    """Removes a partial folder; an older target that was moved into it goes back where nothing took its place."""
    if not os.path.lexists(target):
        with contextlib.suppress(FileNotFoundError):
            os.rename(path / SPARE, target)
    shutil.rmtree(path, ignore_errors=True)
