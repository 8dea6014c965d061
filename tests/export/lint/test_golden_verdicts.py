"""What the lint says of linger's files against what packer and executor did with them."""

import dataclasses
from pathlib import Path

import pytest

import tests.golden
from tests.golden.case import read_case
from tests.golden.device import linted
from tests.golden.outcome import Status
from tests.golden.replaying import replay_file
from tests.golden.report import failure_line

CASES = sorted((Path(tests.golden.__file__).parent / "data" / "device").glob("*/case.json"))


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.parent.name)
def test_the_lint_agrees_with_the_verdict_of_the_device(case):
    outcome = replay_file(case, "lint")
    assert outcome.status is Status.passed, failure_line(outcome)


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("squeeze", "equal"),
        ("squeeze", "equal with `-m 4:psram`"),
        ("squeeze", "equal with `--threshold4 0`"),
        ("squeeze", "DIFFERS"),
        ("arcs_two_inputs", "equal with `-m 4:psram`"),
        ("arcs_two_inputs", "CRASH in executor"),
        ("glu", "equal with `rename_unmapped_ops`, `-m 1:psram,3:psram`"),
        ("transpose_perm", "REJECTED by packer"),
        ("transpose_perm", "equal"),
        ("transpose_perm", "unheard of"),
    ],
)
def test_another_verdict_is_a_disagreement(name, verdict):
    (path,) = (path for path in CASES if path.parent.name == name)
    case = read_case(path)
    assert linted.replay(dataclasses.replace(case, meta={**case.meta, "verdict": verdict})) != []
