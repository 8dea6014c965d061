"""The codes of defects and decisions: every number has its row or its section, and every test cited there exists."""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODES = ROOT / "docs" / "codes.md"
DECISIONS = ROOT / "docs" / "decisions.md"
ROW = re.compile(r"^\| (?P<number>[A-Z]\d+[a-z]?) \|(?P<cells>.*)\|$", re.MULTILINE)
LISTED = re.compile(r"^\| \[(D\d+)\]\(decisions\.md#[\w-]+\) \|", re.MULTILINE)
CITED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
PLANNED = "* Planned, not in this release. Today: "
IN_FORCE = "* In force. Shown by "

# Numbers that the specification gives to defects of the reference, and the decisions.
DEFECTS = {
    *(f"C{n}" for n in range(1, 24)),
    *(f"S{n}" for n in range(1, 7)),
    *(f"N{n}" for n in range(1, 15)),
    *(f"K{n}" for n in range(1, 4)),
    *(f"O{n}" for n in (1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 14, 15, 16, 17, 18, 19, 20)),
    *(f"R{n}" for n in range(1, 20)),
}
DECIDED = {f"D{n}" for n in range(1, 38)}


def rows() -> dict[str, str]:
    found = [(row["number"], row["cells"]) for row in ROW.finditer(CODES.read_text(encoding="utf-8"))]
    assert len({number for number, _ in found}) == len(found), "a number stands twice"
    return dict(found)


def decisions() -> dict[str, str]:
    """Text of each decision, by its number."""
    _, *sections = re.split(r"^## ", DECISIONS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = [(section.split()[0], section) for section in sections]
    assert len({number for number, _ in found}) == len(found), "a decision stands twice"
    return dict(found)


@functools.cache
def functions(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def assert_tests_exist(text: str) -> None:
    cited = CITED.findall(text)
    assert cited
    for file, name in cited:
        assert name in functions(file), f"{file} has no {name}"


def test_every_number_has_a_row():
    assert set(rows()) == DEFECTS


def test_every_decision_has_a_section_and_is_listed_on_the_page_of_codes():
    assert set(decisions()) == DECIDED
    assert LISTED.findall(CODES.read_text(encoding="utf-8")) == list(decisions())


def test_every_letter_is_explained():
    explained = re.findall(r"^\| ([A-Z]) \|", CODES.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(explained) == sorted({number[0] for number in DEFECTS | DECIDED})


@pytest.mark.parametrize("number", sorted(rows()))
def test_a_row_says_what_happens_and_cites_tests_that_exist(number):
    cells = rows()[number].split("|")
    assert len(cells) == 3
    assert all(len(cell.strip()) > 3 for cell in cells[:2])
    assert_tests_exist(cells[2])


@pytest.mark.parametrize("number", sorted(decisions()))
def test_a_decision_says_what_why_and_either_cites_tests_or_is_planned(number):
    lines = [line for line in decisions()[number].splitlines() if line.startswith("* ")]
    assert [line.split(": ")[0] for line in lines[:3]] == ["* `chip`", "* `reference`", "* Why"]
    assert len(lines) == 4
    assert all(len(line.partition(": ")[2]) > 3 for line in lines[:3])
    if lines[3].startswith(PLANNED):
        assert len(lines[3]) > len(PLANNED) + 3
    else:
        assert lines[3].startswith(IN_FORCE)
        assert_tests_exist(lines[3])
