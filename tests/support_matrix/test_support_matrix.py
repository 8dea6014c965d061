"""docs/support_matrix.md is what trying everything yields, and it leaves nothing out."""

from __future__ import annotations

from pathlib import Path

import pytest

import linger_jax
from linger_jax.config import Platform
from tests.support_matrix.__main__ import DOCUMENT
from tests.support_matrix.evidence import kept_cases, read_cases
from tests.support_matrix.operators import ROWS_OF_MATRIX
from tests.support_matrix.page import Matrix, matrix, page
from tests.support_matrix.verdict import Stage

GOLDEN = Path(__file__).parents[3] / "shared" / "golden" / "device"
# Operators that a row calls otherwise.
NAMES = {"add": "`+`", "mul": "`*`", "matmul": "`@`", "cat": "concatenate", "swish": "silu", "table": "`leaky_relu`"}


@pytest.fixture(scope="module")
def found() -> Matrix:
    return matrix()


@pytest.mark.slow
def test_the_page_is_what_trying_everything_yields(found: Matrix) -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == page(found), "run python -m tests.support_matrix"


def test_verdicts_of_the_specification_are_found(found: Matrix) -> None:
    """docs/specification/onnx_export.md sections 4 and 5, one row of each kind."""
    stages = {row.name: {platform: one.stage for platform, one in of.items()} for row, of in found.items()}
    assert stages["`Conv`, 2-D"][Platform.arcs] is Stage.equal
    assert stages["`sigmoid`"][Platform.arcs] is Stage.equal
    assert stages["`sigmoid`"][Platform.venusA] is Stage.packs
    assert stages["`nn.RNN`, GRU"][Platform.arcs] is Stage.packs
    assert stages["`tanh`"][Platform.arcs] is Stage.equal
    assert stages["`tanh`"][Platform.mars] is Stage.exports
    assert stages["`gelu`"][Platform.arcs] is Stage.equal
    assert stages["`gelu`"][Platform.mars] is Stage.exports
    assert stages["`softmax`"][Platform.jupiter] is Stage.nothing
    assert stages["`SparifyFFN`"][Platform.arcs] is Stage.trains


def test_no_chip_without_an_executor_is_called_equal(found: Matrix) -> None:
    for of in found.values():
        assert of[Platform.venus].stage not in (Stage.equal, Stage.depends)
        assert of[Platform.mars].stage not in (Stage.equal, Stage.depends)


def test_everything_that_is_supported_has_a_row() -> None:
    rows = " ".join(row.name for row in ROWS_OF_MATRIX)
    known = linger_jax.supported()
    names = [*known.layers, *known.operators]
    assert [name for name in names if NAMES.get(name, name) not in rows] == []


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden device cases are not here")
def test_the_kept_verdicts_are_those_of_the_golden_cases() -> None:
    assert list(kept_cases()) == read_cases(GOLDEN)
