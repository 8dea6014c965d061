"""Every Python and shell block of the README and of docs/ runs as written, the blocks of one page in order."""

import re
import shlex
from pathlib import Path

import jax
import pytest

from linger_jax.cli import main

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def _blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text."""
    text = page.read_text(encoding="utf-8")
    return re.findall(r"^```(python|sh)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def _run_shell(block: str) -> None:
    """Each line is a command of the program, run in this process."""
    for line in block.splitlines():
        program, *arguments = shlex.split(line)
        assert program == "linger-jax", line
        with pytest.raises(SystemExit) as exit_:
            main(arguments)
        assert exit_.value.code == 0, line


def _links(page: Path) -> list[tuple[str, str]]:
    """Files, empty for the page itself, and anchors, empty for none."""
    return re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", page.read_text(encoding="utf-8"))


def _anchors(page: Path) -> set[str]:
    """Those that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_of_a_page_runs_as_written(page, tmp_path, monkeypatch):
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    namespace = {}
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):  # as a reader's session has it
        for number, (language, block) in enumerate(_blocks(page)):
            if language == "sh":
                _run_shell(block)
                continue
            module = re.match(r"# (\w+\.py)\n", block)
            if module:  # a file that later blocks import
                (tmp_path / module[1]).write_text(block, encoding="utf-8")
            exec(compile(block, f"{page.name} block {number}", "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_lead_to_files(page):
    assert [file for file, _ in _links(page) if not (page.parent / file).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_into_a_page_lead_to_headings(page):
    into = [(page.parent / file if file else page, anchor) for file, anchor in _links(page) if anchor]
    assert [anchor for target, anchor in into if anchor not in _anchors(target)] == []


def test_every_page_can_be_reached_from_the_index():
    reached, waiting = set(), [ROOT / "docs" / "README.md"]
    while waiting:
        page = waiting.pop().resolve()
        if page not in reached:
            reached.add(page)
            waiting += [page.parent / file for file, _ in _links(page) if file.endswith(".md")]
    assert {page.resolve() for page in PAGES} <= reached | {ROOT / "README.md"}
