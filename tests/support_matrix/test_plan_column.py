"""The column ``device`` of a plan says of every row of the matrix what strict export does (docs/decisions.md D33)."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

import linger_jax
from linger_jax.config import Platform
from linger_jax.errors import DeviceLintError, ExportError, LingerWarning, PlatformLimitError
from linger_jax.export.verdict import device_verdict
from tests.support_matrix.abstract_model import COMMON, AbstractModel
from tests.support_matrix.operators import ROWS_OF_MATRIX, Row

SCALES = {Platform.arcs: (COMMON, 4 * COMMON), Platform.venusA: (COMMON, COMMON / 4), Platform.venus: (COMMON,)}
"""Of the outputs, beside inputs of ``COMMON``."""


@pytest.mark.slow
@pytest.mark.parametrize("platform", SCALES)
@pytest.mark.parametrize("row", ROWS_OF_MATRIX, ids=lambda row: row.name)
def test_the_column_says_what_strict_export_does(row: Row, platform: Platform, tmp_path: Path) -> None:
    try:
        model = AbstractModel(row, platform, strict=False)
    except PlatformLimitError:  # no plan, so no column
        return
    for scale in SCALES[platform]:
        model.output_scale = scale
        found = device_verdict(model.record({}))
        refused = {
            r.name for r, verdict in zip(model.plan.rows(), found.rows, strict=True) if verdict.word == "refused"
        }
        elsewhere = "; ".join(verdict.why for verdict in found.elsewhere)
        message = ""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LingerWarning)
            try:
                linger_jax.export_onnx(model, {}, model.zeros, tmp_path / "row.onnx")
            except DeviceLintError as error:
                message = str(error)
                layers = {finding.layer for finding in error.report.blocking}
                assert all(layer in refused or finding_is_told(layer, elsewhere) for layer in layers), (layers, refused)
            except ExportError as error:
                message = str(error)
                assert any(message.startswith(f"{name} (") for name in refused) or elsewhere, (message, refused)
        assert found.runs == (not message), (message, refused, elsewhere)


def finding_is_told(layer: str, elsewhere: str) -> bool:
    return layer in elsewhere if layer else bool(elsewhere)
