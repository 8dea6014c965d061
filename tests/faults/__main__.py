"""``python -m tests.faults --count N --seed S [--only READER]``: spoils files and reads them.

Every case ends as a right result, or as one ``LingerError`` that names the file; anything else is a failure, which is
printed with its number, and whose file is kept. ``--first N --count 1`` runs one case again.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tests.faults import samples
from tests.faults.campaign import Campaign
from tests.faults.case import Outcome
from tests.faults.readers import READERS


def main() -> int:
    """Runs a campaign; the exit status is 1 where a case failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="cases")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=list(READERS), help="readers; default: all, by their weights")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--keep", type=Path, help="folder for files that failed; default: a temporary one")
    given = parser.parse_args()
    console = Console()
    keep = Path(given.keep or tempfile.mkdtemp(prefix="faults-")).absolute()
    readers = given.only or list(READERS)
    base = keep / "samples"
    shutil.rmtree(base, ignore_errors=True)
    with console.status("making good files"):
        samples.make(base, readers)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("reading spoilt files", total=given.count)

        def told(outcome: Outcome) -> None:
            progress.advance(task)
            if outcome.verdict == "failed":
                what = f"case {outcome.index} of seed {given.seed}: {outcome.reader} of {outcome.sample}"
                what += f", {', '.join(outcome.mutations)}"
                progress.console.print(f"[red]failed[/] {escape(what)}\n{escape(outcome.problem)}")

        numbers = range(given.first, given.first + given.count)
        counts = Campaign(given.seed, numbers, readers, base, keep, given.jobs, told).run()
    table = Table(title=f"{given.count} cases of seed {given.seed}")
    verdicts = ("right", "refused", "failed")
    for column in ("reader", *verdicts):
        table.add_column(column, justify="left" if column == "reader" else "right")
    for reader in sorted({reader for reader, _ in counts}):
        table.add_row(reader, *(str(counts[reader, verdict]) for verdict in verdicts))
    table.add_row("all", *(str(sum(n for (_, v), n in counts.items() if v == verdict)) for verdict in verdicts))
    console.print(table)
    failed = sum(n for (_, verdict), n in counts.items() if verdict == "failed")
    console.print(f"{failed} failed; their files are kept in {keep}" if failed else "none failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
