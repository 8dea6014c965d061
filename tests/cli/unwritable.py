"""Outputs that cannot be written, for the tests of every command that writes one."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

UNWRITABLE = {
    "file/below": "Not a directory",
    "n" * 256: "File name too long",
    "circle/below": "Too many levels of symbolic links",
}
"""Names in a folder that ``prepare`` made, and the reason that is told."""


def prepare(folder: Path) -> set[Path]:
    """Makes what is in the way; returns everything that is in the folder then."""
    (folder / "file").write_text("old")
    (folder / "circle").symlink_to(folder / "circle")
    return set(folder.rglob("*"))


@contextlib.contextmanager
def space_for(size: int) -> Iterator[None]:
    """No file may grow beyond ``size`` bytes inside the block."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def is_one_line(err: str, reason: str) -> bool:
    """Whether a command's error output is one line with that reason."""
    return err.startswith("error: ") and f"cannot be written ({reason})" in err and len(err.splitlines()) == 1
