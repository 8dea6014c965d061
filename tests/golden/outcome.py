"""What became of one case."""

from __future__ import annotations

import dataclasses
import enum


class NotSupportedError(Exception):
    """The case is about something that linger_jax, or Flax, cannot express; the text says what."""


class Status(enum.Enum):
    """A case passes, fails, or asks for what is not there."""

    passed = "passed"
    failed = "failed"
    not_supported = "not supported"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Result of one case.

    Attributes:
      name: the case.
      family, op: row of the table.
      status: what became of it.
      notes: mismatches, or the one reason why it is not supported.
      seconds: time it took.
    """

    name: str
    family: str
    op: str
    status: Status
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
