"""Many models in several processes, with a progress bar and a table at the end."""

from __future__ import annotations

import collections
import concurrent.futures
import functools
import multiprocessing
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tests.equality.examining import Asked, Examined, examine

_TOLD_EVERY = 100
"""Models, where there is no bar to show."""


def run(asked: Asked, indices: Sequence[int], jobs: int, programs: Path | None) -> int:
    """Examines models, prints what went wrong and a table; 1 where something did."""
    console = Console(soft_wrap=True)
    start, found = time.monotonic(), []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("models", total=len(indices))
        for examined in _examined(asked, indices, jobs):
            found.append(examined)
            progress.advance(task)
            if not console.is_terminal and len(found) % _TOLD_EVERY == 0:
                console.print(f"{len(found)} of {len(indices)} models, {time.monotonic() - start:.0f} s")
            if examined.verdict.outcome in ("differs", "failed"):
                _tell(console, asked, examined)
                if programs is not None:
                    programs.mkdir(parents=True, exist_ok=True)
                    (programs / f"{asked.seed}_{examined.index}.py").write_text(examined.program)
    for table in _tables(found):
        console.print(table)
    console.print(f"{len(found)} models in {time.monotonic() - start:.0f} s")
    return int(any(examined.verdict.outcome in ("differs", "failed") for examined in found))


def _examined(asked: Asked, indices: Iterable[int], jobs: int) -> Iterator[Examined]:
    if jobs == 1:
        yield from (examine(asked, index) for index in indices)
        return
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(jobs, mp_context=context) as pool:
        waiting = [pool.submit(functools.partial(examine, asked), index) for index in indices]
        for future in concurrent.futures.as_completed(waiting):
            yield future.result()


def _tell(console: Console, asked: Asked, examined: Examined) -> None:
    verdict = examined.shows or examined.verdict
    what = verdict.sides if verdict.differs else "; ".join(f"{way}: {why}" for way, why in verdict.failed.items())
    console.print(f"\n--- seed {asked.seed}, index {examined.index}: {what}", markup=False, highlight=False)
    console.print(examined.program, markup=False, highlight=False)
    for way, message in verdict.messages.items():
        console.print(f"# {way}: {message}", markup=False, highlight=False)


def _tables(found: Sequence[Examined]) -> Iterator[Table]:
    outcomes = Table("outcome", "models", "share", title="models")
    for outcome, count in collections.Counter(examined.verdict.outcome for examined in found).most_common():
        outcomes.add_row(outcome, str(count), f"{count / len(found):.0%}")
    yield outcomes
    ways = Table("way", "equal", "differs", "refused", "failed", title="ways")
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for examined in found:
        verdict = examined.verdict
        for way in (way for group in verdict.groups for way in group):
            counts[way]["differs" if way in verdict.differing else "equal"] += 1
        for outcome, of in (("refused", verdict.refused), ("failed", verdict.failed)):
            for way in of:
                counts[way][outcome] += 1
    for way, counted in counts.items():
        ways.add_row(way, *(str(counted[outcome]) for outcome in ("equal", "differs", "refused", "failed")))
    yield ways
    reasons = collections.Counter(why for e in found for why in {*e.verdict.refused.values()})
    if reasons:
        refusals = Table("refused because", "models")
        for why, count in reasons.most_common():
            refusals.add_row(why, str(count))
        yield refusals
    kinds = Table("kind", "models", "differs", "failed", title="kinds, in shrunk models where something went wrong")
    drawn = collections.Counter(kind for e in found for kind in e.case.kinds)
    wrong = {
        outcome: collections.Counter(
            kind for e in found if e.verdict.outcome == outcome for kind in (e.smallest or e.case).kinds
        )
        for outcome in ("differs", "failed")
    }
    for kind, count in sorted(drawn.items()):
        kinds.add_row(kind, str(count), *(str(wrong[outcome][kind]) for outcome in ("differs", "failed")))
    yield kinds
