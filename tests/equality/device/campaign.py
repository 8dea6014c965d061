"""Many models on one chip, and tables of what came of them."""

from __future__ import annotations

import collections
import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
from rich.console import Console
from rich.table import Table

from linger_jax.targets import Platform
from tests.equality.device.drawing import draw_for_device
from tests.equality.device.judging import FAULTS, Verdict, judge
from tests.equality.device.simulator import Device
from tests.equality.drawn.case import Case
from tests.equality.shrinking import shrink

_OFTEN_CLEARED = 25
"""Models after which the process forgets what it compiled."""
_REFUSED_TOO = 2
"""Every so many models a refused file is packed and run all the same."""


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a run is asked for.

    Attributes:
      seed, only, chip: of all models.
      device: packer and executor.
      tries: evaluations that shrinking may take; 0 for none.
    """

    seed: int
    only: str | None
    chip: Platform
    device: Device
    tries: int


@dataclasses.dataclass(frozen=True)
class Examined:
    """What came of an index."""

    index: int
    case: Case
    verdict: Verdict
    smallest: Case


def run(asked: Asked, indices: Sequence[int], programs: Path | None) -> int:
    """Examines models, prints faults as they are found and tables at the end; 1 where there was one."""
    console, start, found = Console(soft_wrap=True), time.monotonic(), []
    for number, index in enumerate(indices):
        if number % _OFTEN_CLEARED == 0:
            jax.clear_caches()
        examined = _examine(asked, index)
        found.append(examined)
        verdict = examined.verdict
        if verdict.outcome in FAULTS:
            head = f"--- {asked.chip} seed {asked.seed}, index {index}: {verdict.outcome}: {verdict.message}"
            console.print(head, markup=False, highlight=False)
            if asked.tries:
                console.print(examined.smallest.program(), markup=False, highlight=False)
            if programs is not None:
                programs.mkdir(parents=True, exist_ok=True)
                name = f"{asked.chip}_{asked.seed}_{index}.py"
                (programs / name).write_text(f"# {head}\n{examined.smallest.program()}")
        elif verdict.beyond == "equal":
            console.print(
                f"--- {asked.chip} index {index}: equal all the same: {verdict.message}", markup=False, highlight=False
            )
    for table in _tables(asked.chip, found):
        console.print(table)
    console.print(f"{len(found)} models in {time.monotonic() - start:.0f} s")
    return int(any(examined.verdict.outcome in FAULTS for examined in found))


def _examine(asked: Asked, index: int) -> Examined:
    case = draw_for_device(asked.seed, index, asked.only, asked.chip)
    verdict = judge(case, asked.device, refused_too=index % _REFUSED_TOO == 0)
    if verdict.outcome not in FAULTS or not asked.tries:
        return Examined(index, case, verdict, case)

    def still_wrong(smaller: Case) -> bool:
        return verdict.alike(judge(smaller, asked.device, refused_too=False))

    return Examined(index, case, verdict, shrink(case, still_wrong, asked.tries))


def _tables(chip: str, found: Sequence[Examined]) -> Iterator[Table]:
    verdicts = [examined.verdict for examined in found]
    outcomes = Table("outcome", "models", "share", title=f"models on {chip}")
    for outcome, count in collections.Counter(verdict.outcome for verdict in verdicts).most_common():
        outcomes.add_row(outcome, str(count), f"{count / len(found):.0%}")
    yield outcomes
    faults = Table("fault", "first at", "models", title="what the lint accepts and the device does not compute")
    at = collections.Counter((v.outcome, v.operator) for v in verdicts if v.outcome in FAULTS)
    for (outcome, operator), count in at.most_common():
        faults.add_row(outcome, operator, str(count))
    yield faults
    missing = Table("no file because", "models")
    for why, count in collections.Counter(v.reasons for v in verdicts if v.outcome == "no file").most_common():
        missing.add_row("; ".join(why), str(count))
    yield missing
    refusals = Table(
        *("refused by the lint", "models", "alone", "run all the same", "equal", "equal, alone"),
        title="refusals; equal ones may be over-strict",
    )
    refused = [v for v in verdicts if v.outcome == "refused"]
    for why, count in collections.Counter(why for v in refused for why in v.reasons).most_common():
        having = [v for v in refused if why in v.reasons]
        alone = [v for v in having if len(v.reasons) == 1]
        counts = (
            *(count, len(alone), sum(bool(v.beyond) for v in having), sum(v.beyond == "equal" for v in having)),
            sum(v.beyond == "equal" for v in alone),
        )
        refusals.add_row(why, *map(str, counts))
    yield refusals
    kinds = Table("kind", "models", "equal", "refused", "fault", title="kinds")
    for kind in sorted({kind for examined in found for kind in examined.case.kinds}):
        having = [examined.verdict.outcome for examined in found if kind in examined.case.kinds]
        counts = (len(having), having.count("equal"), having.count("refused"), sum(o in FAULTS for o in having))
        kinds.add_row(kind, *map(str, counts))
    yield kinds
