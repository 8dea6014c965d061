"""A sample of the campaign of spoilt files (``python -m tests.faults``), of the readers that compile nothing."""

from pathlib import Path

import pytest

from tests.faults import samples
from tests.faults.case import run_case

READERS = ("config", "names", "pairs", "state", "lint", "arrays", "packer")
CASES, GROUP = 240, 40


@pytest.fixture(scope="module")
def good_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    samples.make(folder, READERS)
    return folder


@pytest.mark.filterwarnings("ignore")  # of libraries, about files that are refused
@pytest.mark.parametrize("first", range(0, CASES, GROUP))
def test_spoilt_files_are_read_right_or_refused_by_name(good_files: Path, tmp_path: Path, first: int) -> None:
    outcomes = [run_case(0, first + i, good_files, tmp_path, READERS) for i in range(GROUP)]
    assert [outcome for outcome in outcomes if outcome.verdict == "failed"] == []
    assert {outcome.verdict for outcome in outcomes} == {"right", "refused"}
