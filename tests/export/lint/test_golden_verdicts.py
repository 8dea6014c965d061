"""What the lint says of linger's files against what packer and executor did with them."""

from pathlib import Path

import pytest

import tests.golden
from tests.golden.outcome import Status
from tests.golden.replaying import replay_file
from tests.golden.report import failure_line

CASES = sorted((Path(tests.golden.__file__).parent / "data" / "device").glob("*/case.json"))


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.parent.name)
def test_the_lint_agrees_with_the_verdict_of_the_device(case):
    outcome = replay_file(case, "lint")
    assert outcome.status is Status.passed, failure_line(outcome)
