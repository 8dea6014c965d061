"""A case, and how it ended."""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Callable, Sequence


@dataclasses.dataclass(frozen=True)
class Case:
    """Something to compare.

    Attributes:
      name: of the case.
      compare: says what differs, a line each.
      measured: of a measurement, what was measured; asked afterwards.
    """

    name: str
    compare: Callable[[], Sequence[str]]
    measured: Callable[[], str] = str


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What became of a case.

    Attributes:
      case: its name.
      outcome: ``equal``, ``differs`` or ``failed``.
      details: what differs, or the error.
      measured: of a measurement, what was measured.
    """

    case: str
    outcome: str
    details: Sequence[str] = ()
    measured: str = ""


def judged(case: Case) -> Verdict:
    """Runs a case."""
    try:
        lines = case.compare()
    except Exception:
        return Verdict(case.name, "failed", traceback.format_exc().splitlines())
    return Verdict(case.name, "differs" if lines else "equal", lines, case.measured())
