"""Dialects: what is written can be read, and a page says what each is."""

from __future__ import annotations

from pathlib import Path

import pytest

from linger_jax.export.dialects import DIALECTS
from linger_jax.export.onnx.file_dialect import FILE_DIALECTS

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.unit


def test_there_are_the_dialects_of_linger_and_of_the_packer():
    assert set(DIALECTS) >= {"linger", "thinker"}


def test_a_dialect_that_is_written_is_read_and_the_other_way():
    assert {name: dialect.files for name, dialect in DIALECTS.items()} == FILE_DIALECTS


@pytest.mark.parametrize("name", DIALECTS)
def test_a_dialect_is_explained(name):
    assert f"`{name}`" in (ROOT / "docs/onnx_files.md").read_text(encoding="utf-8")
    assert DIALECTS[name].summary


@pytest.mark.parametrize("name", DIALECTS)
def test_a_rewrite_has_a_name_of_its_own_and_a_source(name):
    rewrites = DIALECTS[name].rewrites
    assert len({rewrite.name for rewrite in rewrites}) == len(rewrites)
    assert all(rewrite.source.startswith("docs/specification/onnx_export.md section") for rewrite in rewrites)
