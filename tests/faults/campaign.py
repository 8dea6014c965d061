"""Thousands of cases in worker processes: counts what became of them, and keeps the files that failed."""

from __future__ import annotations

import dataclasses
import json
import os
import queue
import select
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.faults.case import Outcome

_WAIT = 90.0
"""Seconds for one answer; a case that only waits takes no processor time."""
_START = 600.0
_CASES_OF_A_WORKER = 400
"""A worker keeps every program that it compiled."""


@dataclasses.dataclass
class Campaign:
    """Cases to run.

    Attributes:
      seed, numbers: which.
      readers: names of those to choose from.
      base: folder of the good files.
      scratch: folder of the spoilt ones.
      jobs: processes.
      told: called with every outcome, from any thread.
    """

    seed: int
    numbers: range
    readers: Sequence[str]
    base: Path
    scratch: Path
    jobs: int
    told: Callable[[Outcome], None]

    def run(self) -> Counter[tuple[str, str]]:
        """Runs all cases.

        Returns:
          How many of each reader ended in which way.
        """
        counts: Counter[tuple[str, str]] = Counter()
        lock = threading.Lock()
        work: queue.Queue[list[int]] = queue.Queue()
        for first in range(0, len(self.numbers), _CASES_OF_A_WORKER):
            work.put(list(self.numbers[first : first + _CASES_OF_A_WORKER]))

        def note(outcome: Outcome) -> None:
            with lock:
                counts[outcome.reader, outcome.verdict] += 1
                self.told(outcome)

        def serve(place: Path) -> None:
            place.mkdir(parents=True, exist_ok=True)
            while True:
                try:
                    numbers = work.get_nowait()
                except queue.Empty:
                    return
                while numbers:
                    numbers = self._work_off(numbers, place, note)

        threads = [threading.Thread(target=serve, args=(self.scratch / f"worker{i}",)) for i in range(self.jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return counts

    def _work_off(self, numbers: list[int], place: Path, note: Callable[[Outcome], None]) -> list[int]:
        """Gives cases to a new worker, until all are done or one ends it; the rest comes back."""
        log = place.with_suffix(".log")
        command = [sys.executable, "-m", "tests.faults.worker", "--base", str(self.base), "--scratch", str(place)]
        with log.open("w") as errors:
            worker = subprocess.Popen(
                [*command, "--seed", str(self.seed), "--readers", *self.readers],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                bufsize=1,
                env={
                    **os.environ,
                    "JAX_PLATFORMS": "cpu",
                    "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)),
                },
            )
            try:
                if _line(worker, _START) is None:
                    raise RuntimeError(f"a worker does not start: {log.read_text()[-2000:]}")
                for done, number in enumerate(numbers):
                    worker.stdin.write(f"{number}\n")
                    line = _line(worker, _WAIT)
                    if line is None:
                        worker.kill()
                        errors.flush()
                        why = f"did not end, or ended its process ({worker.wait()}): {log.read_text()[-3000:]}"
                        note(Outcome(number, "?", "?", (), "failed", why))
                        return numbers[done + 1 :]
                    note(Outcome(**{**json.loads(line), "mutations": tuple(json.loads(line)["mutations"])}))
                return []
            finally:
                worker.stdin.close()
                worker.kill()
                worker.wait()
                worker.stdout.close()


def _line(worker: subprocess.Popen[str], seconds: float) -> str | None:
    """The next line of a worker's output, or None where none comes in time."""
    ready, _, _ = select.select([worker.stdout], [], [], seconds)
    return (worker.stdout.readline() or None) if ready else None
