"""Shows that nothing depends on how it is run; exit status 1 where something differs, fails or grows.

    python -m tests.parallel [devices] [processes] [threads] [memory] [--only lstm] [--cycles 300] [--steps 2000]

Without a part: all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.parallel.verdict import Verdict

_DEVICES = {"devices": 8}
"""Of a part's process, where it is not one."""
PARTS = ("devices", "processes", "threads", "memory")
# As in the Makefile: a program is compiled once and run a few times; devices wait for each other on a busy machine.
_LESS = (
    "--xla_backend_optimization_level=1 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_parallel_codegen_split_count=1 --xla_cpu_use_fusion_emitters=false "
    "--xla_cpu_collective_call_terminate_timeout_seconds=3600"
)


def environment(part: str) -> dict[str, str]:
    """Of the process of a part."""
    count = f"--xla_force_host_platform_device_count={_DEVICES.get(part, 1)}"
    usual = {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(Path(".cache/jax").resolve()),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        **os.environ,
    }
    paths = os.pathsep.join(map(os.path.abspath, sys.path))
    return {**usual, "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', _LESS)} {count}", "PYTHONPATH": paths}


def verdicts(part: str, only: str, *numbers: int) -> Iterator[Verdict]:
    """The cases of a part, run in a process of its own."""
    command = [sys.executable, "-m", "tests.parallel.part", part, only, *map(str, numbers)]
    with tempfile.TemporaryFile("w+") as errors:
        worker = subprocess.Popen(command, env=environment(part), stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            for line in worker.stdout:
                yield Verdict(**json.loads(line))
            if worker.wait():
                errors.seek(0)
                yield Verdict("the process", "failed", errors.read()[-3000:].splitlines())
        finally:
            worker.kill()
            worker.wait()


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.parallel", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--only", default="", help="cases whose names hold this")
    parser.add_argument("--cycles", type=int, default=300, help="of a model's life, for memory")
    parser.add_argument("--steps", type=int, default=2000, help="of training, for memory")
    given = parser.parse_args()
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"part {', '.join(sorted(unknown))}: known are {', '.join(PARTS)}")
    console = Console(soft_wrap=True)
    table = Table("part", "case", "outcome", "measured", title="how it was run")
    wrong = 0
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        for part in given.parts or PARTS:
            task = progress.add_task(part)
            numbers = (given.cycles, given.steps) if part == "memory" else ()
            for count, verdict in enumerate(verdicts(part, given.only, *numbers), 1):
                progress.update(task, description=f"{part}: {count} cases")
                table.add_row(part, verdict.case, verdict.outcome, verdict.measured)
                if verdict.outcome != "equal":
                    wrong += 1
                    lines = "\n".join(verdict.details)
                    console.print(f"[red]{verdict.outcome}[/] {part}: {escape(verdict.case)}\n{escape(lines)}")
            progress.remove_task(task)
    console.print(table)
    console.print(f"{wrong} of {table.row_count} cases went wrong" if wrong else f"all {table.row_count} cases equal")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
