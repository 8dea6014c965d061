"""One way to spoil a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

Random = np.random.Generator


@dataclasses.dataclass(frozen=True)
class Mutation:
    """A change of a file in place.

    Attributes:
      change: what is done; drawn from the generator.
      refused: every reader must refuse the result, whatever is in it: it is hostile, or no file at all.
      whole: the result holds what the file held, or is damaged; where it is read, it must be read as before.
    """

    change: Callable[[Random, Path], None]
    refused: bool = False
    whole: bool = False

    @property
    def name(self) -> str:
        """For reports."""
        return self.change.__name__


def on_bytes(change: Callable[[Random, bytes], bytes]) -> Callable[[Random, Path], None]:
    """A change of a file from one of its bytes."""

    def changed(random: Random, path: Path) -> None:
        path.write_bytes(change(random, path.read_bytes()))

    changed.__name__ = change.__name__
    return changed


def pick(random: Random, options: list | tuple) -> object:
    """One of several, without making an array of them."""
    return options[int(random.integers(len(options)))]


ODD_NUMBERS = (
    0,
    1,
    -1,
    2,
    3,
    7,
    31,
    32,
    33,
    127,
    255,
    65536,
    2**24,
    2**31 - 1,
    2**31,
    -(2**31),
    2**40,
    2**62,
    -(2**62),
)
ODD_REALS = (
    0.0,
    -1.0,
    -0.0,
    3.0,
    0.5,
    1e-30,
    1e30,
    3.4e38,
    float("nan"),
    float("inf"),
    -float("inf"),
    2.0**30,
    2.0**-20,
)
ODD_NAMES = (
    "",
    ".",
    "..",
    "../../escape",
    "/etc/passwd",
    "a" * 5000,
    "\u202eweight",
    "v\u00e4ke",
    "a\x1b[2Jb",
    "a\nb",
    "[red]x",
)
