"""Watches what a reader does besides reading: files written, programs started, memory taken."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

_STARTS = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "socket.connect",
    "webbrowser.open",
)
_CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate", "shutil.rmtree")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_MEGABYTE_PAGES = Path("/proc/self/status")

_active: list[Watch] = []


class Watch:
    """Watches while it is entered; one at a time.

    Args:
      folder: whose entries may not change.

    Attributes:
      seen: what was done and should not be.
      memory: bytes that the process grew by at the most.
    """

    def __init__(self, folder: Path) -> None:
        self.seen: list[str] = []
        self.memory = 0
        self._folder = folder

    def __enter__(self) -> Watch:
        self._entries = set(os.listdir(self._folder))
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        self._before = _memory("VmRSS")
        _active.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _active.remove(self)
        self.memory = _memory("VmHWM") - self._before
        new = set(os.listdir(self._folder)) - self._entries
        self.seen += [f"made {name}" for name in sorted(new)]


def _memory(field: str) -> int:
    for line in _MEGABYTE_PAGES.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) << 10
    raise LookupError(field)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _active:
        return
    if event == "open":
        path, _, flags = arguments
        if isinstance(path, str | bytes) and isinstance(flags, int) and flags & _WRITES:
            _active[-1].seen.append(f"opened {path!r} for writing")
    elif event in _CHANGES or event.startswith(_STARTS):
        _active[-1].seen.append(f"{event} {arguments!r:.100}")


sys.addaudithook(_audit)
