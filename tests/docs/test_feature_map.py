"""The table from a feature to its files names what is there, and leaves no folder out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "linger_jax"
PAGE = (ROOT / "docs/developing/feature_map.md").read_text(encoding="utf-8")


def rows(text: str) -> dict[str, list[str]]:
    """The paths of each feature."""
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")][2:]
    return {feature.strip(): re.findall(r"`([^`]+)`", "|".join(cells)) for feature, *cells in lines}


ROWS = rows(PAGE)
PATHS = sorted({path for paths in ROWS.values() for path in paths})
FOLDERS = sorted(folder.relative_to(PACKAGE).as_posix() for folder in PACKAGE.rglob("*/") if any(folder.glob("*.py")))


def found(path: str) -> list[Path]:
    """The files that a path of the table names: all of a folder, those that ``*`` stands for, or one."""
    if path.endswith("/"):
        return list((PACKAGE / path).rglob("*.py"))
    return [file for file in PACKAGE.glob(path) if file.is_file()]


@pytest.mark.parametrize("path", PATHS)
def test_a_path_names_a_file(path):
    assert found(path)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_is_named(folder):
    """Itself, a folder around it, or something inside."""
    assert any(
        path.startswith(f"{folder}/") or (path.endswith("/") and f"{folder}/".startswith(path)) for path in PATHS
    )


def test_each_feature_has_files():
    assert [feature for feature, paths in ROWS.items() if not paths] == []
    assert len(ROWS) > 20


def test_what_is_gone_is_found():
    assert rows("| feature | facts |\n|---|---|\n| A, b | `kinds/` | `gone.py`, `kinds/gone_*.py` |")["A, b"] == [
        "kinds/",
        "gone.py",
        "kinds/gone_*.py",
    ]
    assert not found("kinds/gone.py")
    assert not found("kinds/gone_*.py")
    assert not found("gone/")
    assert not found("kinds")
