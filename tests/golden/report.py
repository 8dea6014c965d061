"""What a replay prints: a line for each failing case, the reasons of what is not supported, a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tests.golden.outcome import Outcome, Status

SHOWN_MISMATCHES = 3


def failure_line(outcome: Outcome) -> str:
    """``case: what differs``, the first mismatches of a failed case."""
    shown = "; ".join(" ".join(note.split()) for note in outcome.notes[:SHOWN_MISMATCHES])
    more = len(outcome.notes) - SHOWN_MISMATCHES
    return f"{outcome.name}: {shown}" + (f"; and {more} more" if more > 0 else "")


def table(outcomes: Sequence[Outcome]) -> Table:
    """Counts by family and operator."""
    counts: Counter[tuple[str, str, Status]] = Counter((o.family, o.op, o.status) for o in outcomes)
    result = Table(title="golden replay")
    result.add_column("family")
    result.add_column("operator")
    for status in Status:
        result.add_column(status.value, justify="right")
    rows = sorted({(family, op) for family, op, _ in counts})
    for family, op in rows:
        result.add_row(family, op, *(_number(counts[family, op, status], status) for status in Status))
    result.add_section()
    totals = Counter(o.status for o in outcomes)
    result.add_row("total", "", *(_number(totals[status], status) for status in Status))
    return result


def closing_line(outcomes: Sequence[Outcome]) -> str:
    """The counts in one plain line, what is not supported as skipped."""
    totals = Counter(o.status for o in outcomes)
    return ", ".join(
        f"{totals[status]} {word}"
        for status, word in ((Status.passed, "passed"), (Status.failed, "failed"), (Status.not_supported, "skipped"))
    )


def _number(count: int, status: Status) -> Text:
    colours = {Status.passed: "green", Status.failed: "bold red", Status.not_supported: "yellow"}
    return Text(str(count) if count else "", style=colours[status])


def print_reasons(console: Console, outcomes: Iterable[Outcome]) -> None:
    """Each reason why cases are not supported, with their number."""
    reasons = Counter(o.notes[0] for o in outcomes if o.status is Status.not_supported)
    for reason, count in sorted(reasons.items()):
        console.print(
            f"not supported ({count}): {reason}", style="yellow", markup=False, highlight=False, soft_wrap=True
        )
