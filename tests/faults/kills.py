"""Kills processes while they write, and lets them run out of space: is the target whole, and is nothing left?

    python -m tests.faults.kills --count 500 --seed 0

Every other kill comes at a random time, and every other at a random call of the system. One process has everything
imported and its contents made, and is forked for each; it never starts JAX itself. The exit status is 1 where a target
was torn or something was left.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import itertools
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from linger_jax.errors import FileError
from tests.faults.written import Target, targets

_CALLS = ("open", "fsync", "fchmod", "fchown", "replace", "rename", "unlink", "mkdir", "rmdir", "scandir", "close")
_MOST_CALLS = 40
"""A write has eight and more of them; where it has fewer, one of the writes after it is killed."""
_SPACE = 5
"""One try without space for so many kills."""

Counts = collections.Counter[str]


def kill_writes(target: Target, count: int, chance: random.Random, report: Callable[[str], None] = print) -> Counts:
    """Kills one writer often.

    Args:
      target: what it writes.
      count: how often.
      chance: decides when.
      report: is told of each fault.

    Returns:
      ``kills``; ``inside``, how many of them left a partial file or folder; ``torn`` and ``left`` (after one more
      write), which are faults; ``no space``, how often a write had none, and ``survived``, how often that was told and
      left the older one alone.
    """
    counts: Counts = collections.Counter(kills=count)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "work")
        folder.mkdir()
        for number in range(count):
            call = chance.randrange(_MOST_CALLS) if number % 2 else None
            _killed(target, folder, chance.random() * 2, call)
            counts["inside"] += bool(target.leftovers(folder))
            for fault, text in _in_child(lambda: _check(target, folder)):
                counts[fault] += 1
                report(f"{target.name}, kill {number}: {text}")
            if number % _SPACE == 0:
                share = chance.random() / 2  # versions differ a little in size
                faults = _in_child(lambda share=share: _without_space(target, folder, share))
                counts["no space"] += 1
                counts["survived"] += not faults
                for _, text in faults:
                    report(f"{target.name}, without space: {text}")
            shutil.rmtree(Path(scratch, "work.away"), ignore_errors=True)
    return counts


def _killed(target: Target, folder: Path, share: float, call: int | None) -> None:
    """Kills a process that writes again and again: in its ``call``-th call, or after a share of the time of a write."""
    ready, tell = os.pipe()
    process = os.fork()
    if not process:
        with _quiet_end():
            start = time.perf_counter()
            target.write(folder, 0)
            os.write(tell, f"{time.perf_counter() - start}\n".encode())
            if call is not None:
                _kill_at(call)
            for number in itertools.count(1):
                target.write(folder, number % 2)
                if call is not None and number > call:  # a writer that makes none of the calls
                    os.kill(os.getpid(), signal.SIGKILL)
    os.close(tell)
    with os.fdopen(ready) as lines:
        seconds = float(lines.readline() or "nan")
    if call is None:
        time.sleep(seconds * share)
        os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    if not os.WIFSIGNALED(status):
        raise AssertionError(f"{target.name} could not write at all")


def _kill_at(call: int) -> None:
    """The process kills itself before or after the call of that number."""
    left = call

    def counted(function: Callable[..., object]) -> Callable[..., object]:
        def run(*args: object, **kwargs: object) -> object:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*args, **kwargs)
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return run

    for name in _CALLS:
        setattr(os, name, counted(getattr(os, name)))


Faults = list[tuple[str, str]]


def _check(target: Target, folder: Path) -> Faults:
    """``torn``: what is there is not whole. ``left``: something remains after one more write, which must be whole."""
    faults = _torn(target, folder)
    target.write(folder, 1)
    faults += _torn(target, folder)
    left = target.leftovers(folder)
    return faults + ([("left", f"{', '.join(left)} is left")] if left else [])


def _torn(target: Target, folder: Path) -> Faults:
    if target.each_time_new and not [path for path in folder.iterdir() if path.name not in target.leftovers(folder)]:
        return []
    try:
        target.read(folder)
    except Exception as error:
        return [("torn", str(error))]
    return []


def _without_space(target: Target, folder: Path, share: float) -> Faults:
    """Writes with a limit of bytes a file that the largest one exceeds; only an error of the family may come."""
    largest = max(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(largest * share), limits[1]))
    try:
        target.write(folder, 0)
        return [("torn", "wrote more than there was space for")]
    except FileError as error:
        faults: Faults = [] if len(str(error).splitlines()) == 1 else [("torn", f"a message of many lines: {error}")]
    except Exception as error:
        return [("torn", f"{type(error).__name__}: {error}")]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    left = target.leftovers(folder)
    return faults + _torn(target, folder) + ([("left", f"{', '.join(left)} is left")] if left else [])


def _in_child(task: Callable[[], Faults]) -> Faults:
    """Runs a task in a process of its own, since it may start JAX."""
    ready, tell = os.pipe()
    process = os.fork()
    if not process:
        with _quiet_end(), os.fdopen(tell, "w") as stream:
            try:
                faults = task()
            except Exception as error:
                faults = [("torn", f"the next write failed: {type(error).__name__}: {error}")]
            stream.writelines(f"{fault}\t{' '.join(text.split())}\n" for fault, text in faults)
            stream.write("done\t\n")
    os.close(tell)
    with os.fdopen(ready) as lines:
        told = [tuple(line.rstrip("\n").split("\t", 1)) for line in lines]
    os.waitpid(process, 0)
    if not told or told[-1][0] != "done":
        return [("torn", "the process that looks did not end")]
    return [(fault, text) for fault, text in told[:-1]]


@contextlib.contextmanager
def _quiet_end() -> Iterator[None]:
    """A forked process prints nothing and ends with the block."""
    status = 1
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        yield
        status = 0
    finally:
        os._exit(status)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=500, help="kills, shared by all writers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="writers whose name has this in it")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        chosen = [target for target in targets(Path(scratch)) if not options.only or options.only in target.name]
        each, more = divmod(options.count, len(chosen))
        columns = ("kills", "inside", "torn", "left", "no space", "survived")
        print(f"{'writer':<18}", *(f"{column:>9}" for column in columns))
        total: Counts = collections.Counter()
        for index, target in enumerate(chosen):
            counts = kill_writes(target, each + (index < more), random.Random(f"{options.seed} {target.name}"))
            total += counts
            print(f"{target.name:<18}", *(f"{counts[column]:>9}" for column in columns), flush=True)
    print(f"{'all':<18}", *(f"{total[column]:>9}" for column in columns))
    return int(bool(total["torn"] or total["left"] or total["survived"] != total["no space"]))


if __name__ == "__main__":
    sys.exit(main())
