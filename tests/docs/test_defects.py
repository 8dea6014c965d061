"""The table of defects is complete, and every test that it cites exists."""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "docs" / "defects.md"
ROW = re.compile(r"^\| (?P<number>[A-Z]\d+[a-z]?) \|(?P<cells>.*)\|$", re.MULTILINE)
CITED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")

# Numbers that the specification of the reference gives to defects and decisions.
NUMBERED = {
    *(f"K{n}" for n in range(1, 4)),
    *(f"O{n}" for n in (1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 14, 15, 16, 17, 18, 19, 20)),
    *(f"R{n}" for n in range(1, 20)),
    *(f"D{n}" for n in (*range(1, 19), 21, 22, 23, 24)),
}


def rows() -> dict[str, str]:
    found = [(row["number"], row["cells"]) for row in ROW.finditer(TABLE.read_text())]
    assert len({number for number, _ in found}) == len(found), "a number stands twice"
    return dict(found)


@functools.cache
def functions(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_every_number_has_a_row():
    assert NUMBERED - set(rows()) == set()


@pytest.mark.parametrize("number", sorted(rows()))
def test_a_row_says_what_happens_and_cites_tests_that_exist(number):
    cells = rows()[number].split("|")
    assert len(cells) == 3
    assert all(len(cell.strip()) > 3 for cell in cells[:2])
    cited = CITED.findall(cells[2])
    assert cited
    for file, name in cited:
        assert name in functions(file), f"{file} has no {name}"
