"""One case: a copy of a good file is spoilt and read, and the outcome judged."""

from __future__ import annotations

import dataclasses
import functools
import shutil
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from linger_jax.errors import LingerError
from tests.faults.mutations import mutate
from tests.faults.mutations.mutation import Mutation
from tests.faults.mutations.raw import NO_FILE
from tests.faults.readers import READERS, Reader
from tests.faults.watch import Watch

MOST_MEMORY = 1 << 30
"""Bytes beyond those of the file."""
_LONGEST_MESSAGE = 20_000


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Attributes:
      index, reader, sample, mutations: which case it was.
      verdict: ``right``, ``refused``, or ``failed``.
      problem: why it failed.
    """

    index: int
    reader: str
    sample: str
    mutations: tuple[str, ...]
    verdict: str
    problem: str = ""


def run_case(seed: int, index: int, base: Path, scratch: Path, readers: Sequence[str]) -> Outcome:
    """Runs one case.

    Args:
      seed, index: decide everything.
      base: folder of the good files.
      scratch: folder for the spoilt ones; a case that failed leaves its folder, the others none.
      readers: names of those to choose from, by their weights.
    """
    random = np.random.default_rng([seed, index])
    weights = np.array([READERS[name].weight for name in readers])
    reader = READERS[readers[int(random.choice(len(readers), p=weights / weights.sum()))]]
    samples = sorted((base / reader.name).iterdir())
    sample = samples[int(random.integers(len(samples)))]
    folder = scratch / f"case_{seed}_{index}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    target = folder / sample.name
    shutil.copytree(sample, target) if sample.is_dir() else shutil.copy(sample, target)
    spoilt = target
    if sample.is_dir():
        files = sorted(path for path in target.rglob("*") if path.is_file())
        spoilt = files[int(random.integers(len(files)))]
    done = mutate(random, reader.kind_of(spoilt), spoilt)
    problem, verdict = _judged(reader, target, sample, spoilt, done)
    if verdict != "failed":
        shutil.rmtree(folder)
    return Outcome(index, reader.name, sample.name, tuple(m.name for m in done), verdict, problem)


def _judged(reader: Reader, target: Path, sample: Path, spoilt: Path, done: list[Mutation]) -> tuple[str, str]:
    size = sum(path.stat().st_size for path in target.parent.rglob("*") if path.is_file() and not path.is_symlink())
    watch = Watch(target.parent.parent)
    problem = ""
    try:
        with watch:
            result = reader.read(target)
        verdict = "right"
    except LingerError as error:
        verdict = "refused"
        problem = _problem_of_error(error, target)
    except Exception as error:
        verdict = "failed"
        problem = f"{type(error).__name__}: {error}\n{_where(error)}"
    if watch.seen:
        problem = f"did {watch.seen[:5]}"
    elif watch.memory > MOST_MEMORY + size:
        problem = f"took {watch.memory >> 20} MB for a file of {size} bytes"
    elif verdict == "right":
        problem = _problem_of_result(reader, target, sample, spoilt, done, result)
    return problem, "failed" if problem else verdict


def _problem_of_error(error: LingerError, target: Path) -> str:
    text = str(error)
    if str(target) not in text:
        return f"does not name the file: {text[:500]}\n{_where(error)}"
    if len(text) > _LONGEST_MESSAGE:
        return f"a message of {len(text)} characters: {text[:300]}"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError):
            return f"asked for more memory than it may have\n{_where(cause)}"
        cause = cause.__cause__ or cause.__context__
    return ""


def _problem_of_result(
    reader: Reader, target: Path, sample: Path, spoilt: Path, done: list[Mutation], result: Any
) -> str:
    # What is no file in a folder may be one that its reader does not need.
    needed = spoilt == target
    hostile = [m.name for m in done if m.refused and (needed or m not in NO_FILE)]
    if hostile:
        return f"accepted in spite of {', '.join(hostile)}: {str(result)[:300]}"
    try:
        problem = reader.judge(target, result)
    except Exception as error:
        return f"cannot be judged: {type(error).__name__}: {error}\n{_where(error)}"
    if problem:
        return problem
    # Checksums of archives leave no room for other contents, unless the archive was packed anew.
    raw = all(mutation.change.__module__.endswith(".raw") or mutation.whole for mutation in done)
    if raw and reader.has_checksums(spoilt):
        return reader.difference(result, _good(reader.name, sample))
    return ""


@functools.cache
def _good(reader: str, sample: Path) -> Any:
    return READERS[reader].read(sample)


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    return "".join(traceback.format_list(frames))
