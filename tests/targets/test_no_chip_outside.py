"""The name of a chip stands in its record alone: other code asks what the chip is like, never which one it is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import linger_jax
import linger_jax.converters
from linger_jax.targets import Platform

PACKAGE = Path(linger_jax.__file__).parent
RECORDS = PACKAGE / "targets"
NAMES = {platform.value for platform in Platform}
EXCEPTIONS: dict[str, str] = {}
"""Paths from the package's folder that may name a chip, each with its reason."""


def chips_named(tree: ast.AST) -> Iterator[str]:
    """``Platform.arcs``, and strings that are the name of a chip."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in NAMES:
            yield f"line {node.lineno}: {ast.unparse(node)}"
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in NAMES:
            yield f"line {node.lineno}: {node.value!r}"


def test_no_chip_is_named_outside_its_record():
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.is_relative_to(RECORDS) or str(path.relative_to(PACKAGE)) in EXCEPTIONS:
            continue
        if named := list(chips_named(ast.parse(path.read_text(encoding="utf-8")))):
            found[str(path.relative_to(PACKAGE))] = named
    assert found == {}


def test_exceptions_are_needed():
    for path in EXCEPTIONS:
        assert list(chips_named(ast.parse((PACKAGE / path).read_text(encoding="utf-8")))), path


@pytest.mark.parametrize("code", ["x is Platform.venus", "config.Platform.venusA", "x == 'arcs'", "{'mars': 1}"])
def test_each_way_to_name_a_chip_is_found(code):
    assert len(list(chips_named(ast.parse(code)))) == 1
