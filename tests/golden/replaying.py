"""Which replay a case goes to, judged from its description alone."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import multiprocessing
import random
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.golden.case import Case, UnreadableCaseError, case_name, read_case
from tests.golden.cases import (
    checkpoint,
    classifier,
    config,
    conv_bn,
    fold,
    kernel,
    layer,
    operator,
    pool_division,
    quantizer,
    recurrent,
    sparify,
    trajectory,
)
from tests.golden.device import exported, imported, linted, packed
from tests.golden.executor import formulas, networks
from tests.golden.outcome import NotSupportedError, Outcome, Status

Replay = Callable[[Case], list[str]]

CHUNK = 24
"""Cases that a process replays at a time; sorted by name, files that share compiled programs stand together."""
CHUNK_OF_A_SAMPLE = 6
"""The same where time runs out before the cases do: smaller, so that every family has its turn."""


def _layer(case: Case) -> list[str]:
    if case.op == "pool_division":
        return pool_division.replay(case.arrays, case.meta)
    if case.op == "layernorm_kernel":
        return kernel.replay_normalization(case.arrays)
    if case.op in fold.OPS and case.meta["mode"] == "load":
        return fold.replay(case)
    return layer.replay(case)


def _constrained(case: Case) -> list[str]:
    if case.op == "SparifyFFN":
        return sparify.replay(case)
    if case.op in conv_bn.OPS:
        return conv_bn.replay(case)
    if case.op in recurrent.OPS:
        return recurrent.replay(case)
    return layer.replay(case)


def _trajectory(case: Case) -> list[str]:
    return (classifier if classifier.is_classifier(case) else trajectory).replay(case)


_FAMILIES: Mapping[str, Replay] = {
    "quantizer": lambda case: quantizer.replay(case.arrays, case.meta),
    "kernel": lambda case: kernel.replay(case.arrays, case.meta),
    "op": operator.replay,
    "rnn": recurrent.replay,
    "layer": _layer,
    "constrain": _constrained,
    "trajectory": _trajectory,
    "checkpoint": lambda case: checkpoint.replay(case.arrays, case.meta, case.path.with_suffix(".pt")),
    "config": config.replay,
    "formula": formulas.replay,
    "network": networks.replay,
    "device": imported.replay,
    "export": exported.replay,
    "pack": packed.replay,
    "lint": linted.replay,
}
# A family that looks at the files of another.
_FILES_OF: Mapping[str, str] = {"export": "device", "pack": "device", "lint": "device"}


def replay_file(path: Path, family: str | None = None, keep: Path | None = None) -> Outcome | None:
    """Replays the case in a file.

    Args:
      path: of the case; a damaged file is a failed case.
      family: only this one.
      keep: a folder for the files that a replay writes.

    Returns:
      What became of it; None where ``family`` names another family.
    """
    start = time.monotonic()
    try:
        case = dataclasses.replace(read_case(path), keep=keep)
    except UnreadableCaseError as error:
        return Outcome(case_name(path), "?", "-", Status.failed, (str(error),))
    if family is not None:
        if case.family != _FILES_OF.get(family, family):
            return None
        case = dataclasses.replace(case, meta={**case.meta, "family": family})
    status, notes = _judged(case)
    return Outcome(case.name, case.family, case.op, status, notes, time.monotonic() - start)


def _judged(case: Case) -> tuple[Status, tuple[str, ...]]:
    replay = _FAMILIES.get(case.family)
    if replay is None:
        return Status.not_supported, (f"family {case.family} is not covered yet",)
    try:
        wrong = replay(case)
    except NotSupportedError as reason:
        return Status.not_supported, (str(reason),)
    except Exception as error:  # whatever goes wrong is a failure of this case, not of the run
        return Status.failed, (f"{type(error).__name__}: {error}".strip(),)
    return (Status.failed if wrong else Status.passed), tuple(wrong)


def replay_files(
    paths: list[Path],
    family: str | None = None,
    jobs: int = 1,
    seconds: float | None = None,
    keep: Path | None = None,
) -> Iterator[Outcome | None]:
    """``replay_file`` of each path, in ``jobs`` processes of their own where there are many.

    With ``seconds`` the paths are taken in a mixed order, and those that the time does not reach are left out.
    """
    end = None if seconds is None else time.time() + seconds
    size = CHUNK if seconds is None else CHUNK_OF_A_SAMPLE
    chunks = [paths[i : i + size] for i in range(0, len(paths), size)]
    if seconds is not None:
        random.Random(len(paths)).shuffle(chunks)
    if jobs < 2 or len(chunks) < 2 * jobs:
        for chunk in chunks:
            yield from _replay_chunk(chunk, family, end, keep)
        return
    repeated = [[value] * len(chunks) for value in (family, end, keep)]
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(jobs, mp_context=context) as pool:
        for outcomes in pool.map(_replay_chunk, chunks, *repeated):
            yield from outcomes


def _replay_chunk(
    paths: list[Path], family: str | None, end: float | None = None, keep: Path | None = None
) -> list[Outcome | None]:
    return [replay_file(path, family, keep) for path in paths if end is None or time.time() < end]
