"""Replays the copied subset of the golden files, operator by operator."""

from __future__ import annotations

import collections
import math
from pathlib import Path

import numpy as np
import pytest

from tests.golden.__main__ import main
from tests.golden.case import find_cases, read_case
from tests.golden.outcome import Status
from tests.golden.replaying import replay_file, replay_files
from tests.golden.report import failure_line

DATA = Path(__file__).parent / "data"

# What linger_jax, or Flax, cannot express yet. A case of these that begins to pass belongs off this list.
NOT_COVERED: frozenset[tuple[str, str]] = frozenset()


# Reasons for which single cases of a covered operator are not supported.
REASONS: tuple[str, ...] = ()


def _files_by_operator() -> dict[tuple[str, str], list[Path]]:
    files = collections.defaultdict(list)
    for path in find_cases(DATA):
        case = read_case(path)
        files[case.family, case.op].append(path)
    return dict(files)


FILES = _files_by_operator()


@pytest.mark.slow
@pytest.mark.parametrize("operator", sorted(FILES), ids=" ".join)
def test_no_case_fails_and_every_covered_operator_has_cases_that_pass(operator):
    outcomes = [replay_file(path) for path in FILES[operator]]
    failures = [failure_line(o) for o in outcomes if o.status is Status.failed]
    assert not failures, "\n".join(failures)
    passed = sum(o.status is Status.passed for o in outcomes)
    assert (passed == 0) == (operator in NOT_COVERED), f"{passed} of {len(outcomes)} pass"
    if operator not in NOT_COVERED:
        reasons = [o.notes[0] for o in outcomes if o.status is Status.not_supported]
        assert [r for r in reasons if not any(known in r for known in REASONS)] == []


def test_the_subset_has_every_family_method_and_mode():
    cases = [read_case(path) for paths in FILES.values() for path in paths]
    metas = [case.meta for case in cases]
    families = {
        "kernel",
        "op",
        "rnn",
        "quantizer",
        "layer",
        "constrain",
        "trajectory",
        "checkpoint",
        "config",
        "device",
        "formula",
        "network",
    }
    assert {case.family for case in cases} == families
    assert {meta.get("method") for meta in metas} >= {"MOM", "TQT", "none"}
    assert {meta.get("mode") for meta in metas} >= {"train", "eval", "calibrate", "load"}


def test_a_wrong_value_fails_the_case_and_the_run(tmp_path, capsys):
    case = read_case(DATA / "layers" / "relu_b8__eval.npz")
    arrays = dict(np.load(case.path))
    np.savez(tmp_path / "right.npz", **arrays)
    arrays["out.y"] = arrays["out.y"] + np.float32(1 / 8)
    np.savez(tmp_path / "wrong.npz", **arrays)
    assert main([str(tmp_path), "--case", "right"]) == 0
    assert capsys.readouterr().out.endswith("\n1 passed, 0 failed, 0 skipped\n")
    assert main([str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "wrong: out.y: 15 of 15 differ" in printed
    assert printed.endswith("\n1 passed, 1 failed, 0 skipped\n")


def test_a_time_limit_takes_a_sample():
    paths = sorted((DATA / "layers").glob("relu*.npz"))
    everything = {outcome.name for outcome in replay_files(paths)}
    assert {outcome.name for outcome in replay_files(paths, seconds=math.inf)} == everything
    assert list(replay_files(paths, seconds=0)) == []


def test_a_time_limit_that_no_case_meets_is_said_and_is_no_failure(capsys):
    assert main([str(DATA / "executor"), "--seconds", "0"]) == 0
    assert "no case ended within 0 s" in capsys.readouterr().out


def test_a_damaged_file_is_a_failed_case(tmp_path):
    (tmp_path / "damaged.npz").write_bytes(b"not an archive")
    outcome = replay_file(tmp_path / "damaged.npz")
    assert outcome.status is Status.failed
    assert "cannot be read" in outcome.notes[0]


@pytest.mark.parametrize("arguments", [[], ["--family", "nothing"], ["--case", "nothing*"]])
def test_nothing_to_replay_is_exit_status_two(tmp_path, arguments, capsys):
    directory = tmp_path if not arguments else DATA / "executor"
    assert main([str(directory), *arguments]) == 2
    assert "no golden case" in capsys.readouterr().err


def test_a_missing_directory_is_exit_status_two(tmp_path):
    assert main([str(tmp_path / "absent")]) == 2
