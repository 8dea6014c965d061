"""``python -m tests.golden DIR [--family F] [--case GLOB] [--seconds S] [--keep DIR]``: replays and judges cases.

Exit status: 0 all passed or not supported, 1 some failed, 2 nothing to replay.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.golden.case import find_cases
from tests.golden.outcome import Outcome, Status
from tests.golden.replaying import replay_files
from tests.golden.report import closing_line, failure_line, print_reasons, table


def main(arguments: list[str] | None = None) -> int:
    """Replays the cases below a directory; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description="Replay golden files.")
    parser.add_argument("directory", type=Path, help="every case below it is replayed")
    parser.add_argument("--family", help="only this family, for example layer or quantizer")
    parser.add_argument("--case", default="*", metavar="GLOB", help="only cases whose name matches")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    parser.add_argument("--seconds", type=float, help="stop after this time: a mixed sample of the cases")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="family export leaves its files in DIR/CASE")
    options = parser.parse_args(arguments)
    if not options.directory.is_dir():
        print(f"{options.directory} is not a directory", file=sys.stderr)
        return 2
    paths = find_cases(options.directory, options.case)
    start = time.monotonic()
    console = Console(width=None if sys.stdout.isatty() else 110)
    outcomes = _replay_all(paths, options, console)
    if not outcomes and options.seconds is not None and time.monotonic() - start >= options.seconds:
        print(f"no case ended within {options.seconds:g} s")
        return 0
    if not outcomes:
        asked = f" of family {options.family}" if options.family else ""
        asked += f" named {options.case}" if options.case != "*" else ""
        print(f"{options.directory} holds no golden case{asked}", file=sys.stderr)
        return 2
    print_reasons(console, outcomes)
    console.print(table(outcomes))
    console.print(f"{len(outcomes)} cases in {time.monotonic() - start:.0f} s")
    print(closing_line(outcomes))
    return 1 if any(o.status is Status.failed for o in outcomes) else 0


def _replay_all(paths: list[Path], options: argparse.Namespace, console: Console) -> list[Outcome]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    outcomes = []
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("replaying", total=len(paths))
        for outcome in replay_files(paths, options.family, options.jobs, options.seconds, options.keep):
            progress.advance(task)
            if outcome is None:
                continue
            outcomes.append(outcome)
            if outcome.status is Status.failed:
                console.print(failure_line(outcome), markup=False, highlight=False, soft_wrap=True)
    return outcomes


if __name__ == "__main__":
    sys.exit(main())
