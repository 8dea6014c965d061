"""Every page, section and code that a source, a test or a page cites exists, and there is one way to cite it.

* Sources and tests name a page by its path: ``docs/specification/quantizers.md section 3.1`` or ``docs/decisions.md
  D16``; several sections as ``sections 3, 4 and 8`` or ``sections 4 to 6``.
* Pages link: ``[quantizers.md](quantizers.md) section 3.1``; ``section 3.1`` alone is one of the same page.
"""

from __future__ import annotations

import ast
import functools
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("linger_jax", "converters", "tests", "examples", "benchmarks", "configs")
SUFFIXES = {".py", ".json", ".yaml", ".toml", ".md", ".txt"}
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SOURCES = sorted(
    path
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*")
    if path.suffix in SUFFIXES and path != Path(__file__)
)
# Pages for users, who meet a code as a link only.
GUIDES = [
    page
    for page in PAGES
    if page.parent == ROOT / "docs" and page.stem not in ("codes", "decisions", "glossary", "README")
]
PACKAGES = [path for path in SOURCES if path.is_relative_to(ROOT / "linger_jax") or path.parent == ROOT / "converters"]


def listed(item: str) -> str:
    """A pattern of one item or a list of them."""
    return rf"{item}(?:(?:, and |, | and | to ){item})*"


NUMBER = r"\d+(?:\.\d+)*"
CODE = r"[CDKNORS]\d{1,2}"
SECTIONS = rf"[Ss]ections? (?P<sections>{listed(NUMBER)})"
CITED = re.compile(rf"(?P<page>docs/[\w/]+\.md)(?:,? (?:{SECTIONS}|(?P<codes>{listed(CODE)})\b))?")
LINKED = re.compile(rf"\[[^\]]*\]\((?P<page>[\w./]+\.md)(?:#[\w-]+)?\)(?: {SECTIONS})?")
OWN_SECTION = re.compile(rf"\b{SECTIONS}")
BARE_CODE = re.compile(rf"(?<![\w.#^*/\[]){CODE}(?![\w.^(])")
FILE_NAME = re.compile(r"[\w./-]*\w\.md\b")
HEADING = re.compile(rf"^#+ ({NUMBER}|{CODE})\.? ", re.MULTILINE)
ROW = re.compile(rf"^\| ({CODE}) \|", re.MULTILINE)


@functools.cache
def numbers(page: Path) -> frozenset[str]:
    """Numbers of a page's sections and rows."""
    text = page.read_text(encoding="utf-8")
    return frozenset({*HEADING.findall(text), *ROW.findall(text)})


def missing(page: Path, items: str | None) -> list[str]:
    """Which of the listed sections or codes a page lacks; of a range both ends count."""
    return [item for item in re.findall(rf"{CODE}|{NUMBER}", items or "") if item not in numbers(page)]


def running(text: str) -> str:
    """Text without line breaks."""
    return re.sub(r"\s*\n\s*", " ", text)


@functools.cache
def texts(path: Path) -> tuple[str, ...]:
    """Running texts of a file: of Python, its strings and its comments, those on consecutive lines joined."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return (running(text),)
    strings = [node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)]
    return (*(running(value) for value in strings if isinstance(value, str)), *comments(text))


def comments(text: str) -> list[str]:
    blocks: list[str] = []
    last = -1
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT:
            continue
        words = token.string.lstrip("#: ")
        if token.start[0] == last + 1:
            blocks[-1] += f" {words}"
        else:
            blocks.append(words)
        last = token.start[0]
    return blocks


def unresolved(cited: re.Match[str], page: Path, items: str | None) -> Iterator[str]:
    if not page.exists():
        yield f"{cited['page']} does not exist"
    else:
        yield from (f"{cited['page']} has no {item}" for item in missing(page, items))


def problems_of_a_source(path: Path) -> Iterator[str]:
    for text in texts(path):
        for cited in CITED.finditer(text):
            yield from unresolved(cited, ROOT / cited["page"], cited["sections"] or cited["codes"])
        rest = CITED.sub("", text)
        yield from (f"{section[0]!r} does not say of which page" for section in OWN_SECTION.finditer(rest))
        if FILE_NAME.fullmatch(text):  # the name of a file that a program handles
            continue
        for name in FILE_NAME.findall(rest):
            if not (ROOT / name).exists() and not (path.parent / name).exists():
                yield f"{name} is no path from the root of the repository"


def problems_of_a_page(path: Path) -> Iterator[str]:
    text = running(path.read_text(encoding="utf-8"))
    for cited in LINKED.finditer(text):
        yield from unresolved(cited, (path.parent / cited["page"]).resolve(), cited["sections"])
    text = LINKED.sub("", text)
    for cited in CITED.finditer(text):
        yield from unresolved(cited, ROOT / cited["page"], cited["sections"] or cited["codes"])
    text = CITED.sub("", text)
    for section in OWN_SECTION.finditer(text):
        yield from (f"there is no section {item} on this page" for item in missing(path, section["sections"]))
    yield from (f"{name} is no link" for name in FILE_NAME.findall(text))


def bare_codes(path: Path) -> Iterator[str]:
    """Codes that do not say on which page they are explained."""
    for text in texts(path):
        yield from BARE_CODE.findall(CITED.sub("", text))


def codes_of_messages(path: Path) -> Iterator[str]:
    """Codes in what a program may show to a user: in strings that are no docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in statements:
            yield from BARE_CODE.findall(node.value)


def found(check: Callable[[Path], Iterator[str]], paths: list[Path]) -> dict[str, list[str]]:
    problems = {str(path.relative_to(ROOT)): list(check(path)) for path in paths}
    return {path: listed for path, listed in problems.items() if listed}


def test_citations_of_sources_and_tests_resolve():
    assert found(problems_of_a_source, SOURCES) == {}


def test_citations_of_pages_resolve():
    assert found(problems_of_a_page, PAGES) == {}


def test_a_code_in_a_source_or_test_names_the_page_that_explains_it():
    assert found(bare_codes, SOURCES) == {}


def test_a_code_in_a_guide_is_a_link():
    codes = {page.name: BARE_CODE.findall(LINKED.sub("", page.read_text(encoding="utf-8"))) for page in GUIDES}
    assert {page: listed for page, listed in codes.items() if listed} == {}


def test_messages_speak_in_words_and_not_in_codes():
    assert found(codes_of_messages, [path for path in PACKAGES if path.suffix == ".py"]) == {}


def test_the_sources_cite_the_specification():
    cited = {match["page"] for path in PACKAGES for text in texts(path) for match in CITED.finditer(text)}
    pages = {"config", "quantizers", "layers", "ops", "chip_kernels", "recurrent", "onnx_export"}
    assert {f"docs/specification/{page}.md" for page in pages} <= cited


@pytest.mark.parametrize(
    "text",
    [
        "spec/quantizers.md section 3",
        "spec quantizers.md section 3",
        "quantizers.md section 3",
        "docs/specification/quantizers.md section 33",
        "docs/specification/quantizers.md sections 3 and 33",
        "docs/specification/scales.md section 3",
        "docs/decisions.md D99",
        "the rule of section 3",
    ],
)
def test_another_spelling_and_what_does_not_exist_are_found(text, tmp_path):
    module = tmp_path / "module.py"
    module.write_text(f'"""A rule ({text})."""\n\n# A comment\n# ({text}).\n', encoding="utf-8")
    assert len(list(problems_of_a_source(module))) >= 2


def test_a_page_with_a_link_or_a_section_that_does_not_exist_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n## 1. First\n\nSee section 1, section 2 and [b](b.md) section 1.\n", encoding="utf-8")
    assert sorted(problems_of_a_page(page)) == ["b.md does not exist", "there is no section 2 on this page"]


def test_a_citation_may_be_broken_over_lines(tmp_path):
    module = tmp_path / "module.py"
    text = "# See docs/specification/quantizers.md sections\n# 3.1 and 4; docs/codes.md K1.\n"
    module.write_text(text, encoding="utf-8")
    assert list(problems_of_a_source(module)) == []
    assert list(bare_codes(module)) == []


def test_a_code_alone_is_found_and_a_format_is_none(tmp_path):
    module = tmp_path / "module.py"
    module.write_text('"""Values in Q15 (D16)."""\n\nMESSAGE = f"{1} is refused (O19)"\n', encoding="utf-8")
    assert list(bare_codes(module)) == ["D16", "O19"]
    assert list(codes_of_messages(module)) == ["O19"]
