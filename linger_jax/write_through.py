"""Devices, pipes and open descriptors (``/dev/stdout``): nothing takes their place, they take bytes."""

from __future__ import annotations

import errno
import os
import re
import stat
import time
import warnings
from pathlib import Path

from linger_jax.errors import FileError, LingerWarning

_SECONDS = 2.0
"""That a pipe's reader may take to open it."""
_MOST_LINKS = 40


def is_written_through(path: str | os.PathLike[str]) -> bool:
    """Whether a path names a device, a pipe, a socket or an open descriptor, rather than a file or a folder."""
    if _descriptor(path) is not None:
        return True
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def write_through(path: Path, content: bytes | memoryview) -> None:
    """Writes to what ``is_written_through``.

    Raises:
      FileError: it is a disk or a socket.
      OSError: it takes no bytes.
    """
    descriptor = _opened(path)
    if descriptor is None:
        return
    with os.fdopen(descriptor, "wb", buffering=0) as stream:
        rest = memoryview(content)
        while rest:
            rest = rest[stream.write(rest) :]


def _opened(path: Path) -> int | None:
    """A descriptor to write to; None for a pipe that nobody reads."""
    number = _descriptor(path)
    if number is not None:
        return os.dup(number)
    mode = os.stat(path).st_mode
    if not (stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)):
        what = "disk" if stat.S_ISBLK(mode) else "socket"
        raise FileError(f"{path}: cannot be written (it is a {what}); name a file, a pipe or a character device")
    end = time.monotonic() + _SECONDS
    while True:
        try:
            # Opening a pipe would wait for its reader for ever.
            descriptor = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError as error:
            if not stat.S_ISFIFO(mode) or error.errno != errno.ENXIO:
                raise
            if time.monotonic() > end:
                warnings.warn(
                    f"{path}: nobody reads this pipe, nothing was written to it; start the reader first",
                    LingerWarning,
                    stacklevel=2,
                )
                return None
            time.sleep(0.01)
        else:
            os.set_blocking(descriptor, True)
            return descriptor


def _descriptor(path: str | os.PathLike[str]) -> int | None:
    """The number of this process's own descriptor that a path names, through links or not."""
    place = os.fspath(path)
    for _ in range(_MOST_LINKS):
        place = os.path.join(os.path.realpath(os.path.dirname(place)), os.path.basename(place))
        found = re.fullmatch(rf"/proc/{os.getpid()}/(?:task/\d+/)?fd/(\d+)", place)
        if found:
            return int(found[1])
        if not os.path.islink(place):
            return None
        place = os.path.join(os.path.dirname(place), os.readlink(place))
    return None
