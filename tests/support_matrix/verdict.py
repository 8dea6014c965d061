"""How far one operator comes on one platform."""

from __future__ import annotations

import dataclasses
import enum
import re
import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path

import linger_jax
from linger_jax.config import Platform
from linger_jax.errors import ExportError, LingerError, LingerWarning
from linger_jax.export.lint import Finding, Severity
from linger_jax.export.onnx import read_onnx
from linger_jax.targets import packed_platforms
from tests.support_matrix.abstract_model import COMMON, AbstractModel
from tests.support_matrix.evidence import measured_equal, measured_platforms, operator_of
from tests.support_matrix.operators import Row

_PLACE = re.compile(r" ?\(?(?:at )?operators\.py:\d+\)?")
_OTHER_SCALES = (4 * COMMON, COMMON / 4)
"""Of the outputs: finer and coarser than the inputs'."""


class Stage(enum.StrEnum):
    """The last step that is reached; each includes those before."""

    nothing = "-"
    trains = "trains"
    exports = "exports"
    packs = "packs"
    depends = "equal, if"
    """Equal for some scales alone."""
    equal = "equal"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What was found.

    Attributes:
      stage: how far it came.
      reasons: why not further.
      options: packer options without which it does not come that far.
    """

    stage: Stage
    reasons: tuple[str, ...] = ()
    options: str = ""


def verdict(row: Row, platform: Platform) -> Verdict:
    """Plans, exports and lints a row."""
    try:
        model = AbstractModel(row, platform)
    except LingerError as error:
        return Verdict(Stage.nothing, (_reason(error, platform),))
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", LingerWarning)
        path = Path(folder, "row.onnx")
        try:
            if platform not in packed_platforms():
                linger_jax.export_onnx(model, {}, model.zeros, path, "linger")
                return Verdict(Stage.exports, ("the packer does not know this platform",))
            return _on_the_device(model, path)
        except ExportError as error:
            return Verdict(Stage.trains, (_reason(error, platform),))


def _on_the_device(model: AbstractModel, path: Path) -> Verdict:
    findings = _findings(model, path)
    refused, differing = (_of(findings, severity) for severity in (Severity.refuse, Severity.differs))
    options = " ".join(dict.fromkeys(str(f.options) for f in findings if f.options and not f.blocks))
    if refused:
        return Verdict(Stage.exports, _told(refused))
    if model.platform not in measured_platforms():
        return Verdict(Stage.packs, ("there is no executor of this chip to compare with",), options)
    if differing:
        return Verdict(Stage.packs, _told(differing), options)
    graph = read_onnx(path)
    operators = {operator_of(graph, node) for node in graph.nodes}
    unknown = sorted(operators - measured_equal(model.platform))
    if unknown:
        return Verdict(
            Stage.packs,
            tuple(
                f"{name}: nothing is known against it, but no file with it was measured to be equal" for name in unknown
            ),
            options,
        )
    others = [f for scale in _OTHER_SCALES for f in _findings(model, path, scale) if f.blocks]
    return Verdict(Stage.depends, _told(others), options) if others else Verdict(Stage.equal, (), options)


def _findings(model: AbstractModel, path: Path, output_scale: float = COMMON) -> list[Finding]:
    model.output_scale = output_scale
    linger_jax.export_onnx(model, {}, model.zeros, path, "thinker", strict=False)
    return [f for f in linger_jax.check_onnx(path).findings if not f.layer.startswith("before")]


def _of(findings: Iterable[Finding], severity: Severity) -> list[Finding]:
    return [f for f in findings if f.severity is severity]


def _told(findings: Iterable[Finding]) -> tuple[str, ...]:
    """Each in a sentence; what was found only where it is more than the operator."""
    told = []
    for f in findings:
        found = "" if f.refuses_operator else f"{f.found}; allowed: "
        told.append(f"{f.op}: {found}{f.limit}. {f.remedy}")
    return tuple(dict.fromkeys(told))


def _reason(error: Exception, platform: Platform) -> str:
    """The line of an error that says why, without the place in this repository and the name of the chip."""
    lines = str(error).strip().splitlines()
    line = lines[1] if len(lines) > 1 and lines[0].endswith(":") else lines[0]
    return _PLACE.sub("", line).strip().removeprefix("<root>: ").replace(f"{platform.value} ", "the chip ")
