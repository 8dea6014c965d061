"""Dialects: what is written can be read, and a page says what each is."""

from __future__ import annotations

from pathlib import Path

import pytest

from linger_jax.export.dialects import DIALECTS, Destination
from linger_jax.export.onnx.file_dialect import EXECUTOR_FILES, FILE_DIALECTS
from linger_jax.export.onnx.onnx_graph import GraphInput, OnnxGraph
from linger_jax.kinds import onnx_operators as ops
from linger_jax.targets import DEFAULT_PLATFORM

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.unit


def test_an_identity_goes_on_its_way_to_the_packer_and_an_output_keeps_its_name():
    graph = OnnxGraph()
    graph.inputs.append(GraphInput("x", (1, 8), "float32"))
    tensor = "x"
    for operator, kind, attributes in (
        (ops.QUANT, "int8", {"scale_x": 16.0, "data_bits": 8}),
        (ops.IDENTITY, "int8", {}),
        (ops.DEQUANT, "float32", {"scale_o": 16.0}),
        (ops.IDENTITY, "float32", {}),
    ):
        (made,) = graph.add(operator, [tensor], element_types=[kind], attributes=attributes)
        graph.shapes[made] = (1, 8)
        before, tensor = tensor, made
    graph.name_output(before, "one")
    graph.name_output(tensor, "other")
    DIALECTS["thinker"].rewrite(graph, Destination(DEFAULT_PLATFORM, opset=12))
    assert [node.operator for node in graph.nodes] == [ops.QUANT, ops.DEQUANT, ops.DEQUANT]
    assert [node.outputs for node in graph.nodes[1:]] == [["one"], ["other"]]
    assert len({node.inputs[0] for node in graph.nodes[1:]}) == 1


def test_there_are_the_dialects_of_linger_and_of_the_packer():
    assert set(DIALECTS) >= {"linger", "thinker"}


def test_a_dialect_that_is_written_is_read_and_the_other_way_but_for_the_executor_s_own():
    """Files that somebody else wrote for the executor, whose integers are the executor's."""
    written = {name: dialect.files for name, dialect in DIALECTS.items()}
    assert {**written, "executor": EXECUTOR_FILES} == FILE_DIALECTS


@pytest.mark.parametrize("name", DIALECTS)
def test_a_dialect_is_explained(name):
    assert f"`{name}`" in (ROOT / "docs/onnx_files.md").read_text(encoding="utf-8")
    assert DIALECTS[name].summary


@pytest.mark.parametrize("name", DIALECTS)
def test_a_rewrite_has_a_name_of_its_own_and_a_source(name):
    rewrites = DIALECTS[name].rewrites
    assert len({rewrite.name for rewrite in rewrites}) == len(rewrites)
    pages = tuple(f"docs/specification/{page}.md section" for page in ("onnx_export", "executor"))
    assert all(rewrite.source.startswith(pages) for rewrite in rewrites)
