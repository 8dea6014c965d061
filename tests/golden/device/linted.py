"""Judges the device lint by device cases: what it says of linger's file against what packer and executor did."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping

import linger_jax
from linger_jax.export.lint import DeviceReport, PackOptions, Severity
from tests.golden.case import Case

_EQUAL_WITH = "equal with"


def replay(case: Case) -> list[str]:
    """Disagreements of one case; none when it passes.

    Args:
      case: a device case; ``model.onnx``, as linger wrote it, lies beside its ``case.json``.
    """
    report = linger_jax.check_onnx(case.path.parent / "model.onnx")
    verdict: str = case.meta["verdict"]
    judged = [judge for start, judge in _JUDGES.items() if verdict.startswith(start)]
    if not judged:
        return [f"verdict {verdict!r} is not known"]
    return [f"{verdict}: {wrong}; the lint says: {report.summary()}" for wrong in judged[0](report, verdict)]


def _equal_with(report: DeviceReport, verdict: str) -> list[str]:
    told = re.findall("`([^`]*)`", verdict)
    edits = {text for text in told if not text.startswith("-")}
    wanted = _options(" ".join(text for text in told if text.startswith("-")))
    wrong = []
    if set(report.edits) != edits:
        wrong.append(f"rewrites {report.edits}, not {sorted(edits)}")
    if any(not finding.edit for finding in report.blocking):
        wrong.append("a finding that no rewrite removes")
    if bool(report.options) != bool(wanted) or report.options.prefetch != wanted.prefetch:
        wrong.append(f"options {report.pack_options}")
    if report.options.threshold4 != 0 and not set(wanted.psram) <= set(report.options.psram):
        wrong.append(f"options {report.pack_options} leave tensors in share memory")
    if wanted.threshold4 == 0 and report.options.threshold4 != 0:
        wrong.append(f"options {report.pack_options} do not place everything in PSRAM")
    return wrong


def _equal(report: DeviceReport, verdict: str) -> list[str]:
    del verdict
    return [] if not report.findings and not report.pack_options else ["findings"]


def _rejected(report: DeviceReport, verdict: str) -> list[str]:
    del verdict
    return [] if any(f.severity is Severity.refuse for f in report.findings) else ["nothing that is refused"]


def _blocked(report: DeviceReport, verdict: str) -> list[str]:
    del verdict
    return [] if not report.ok else ["nothing in the way"]


_JUDGES: Mapping[str, Callable[[DeviceReport, str], list[str]]] = {
    _EQUAL_WITH: _equal_with,
    "equal": _equal,
    "REJECTED": _rejected,
    "DIFFERS": _blocked,
    "CRASH": _blocked,
}


def _options(text: str) -> PackOptions:
    words = iter(shlex.split(text))
    found = PackOptions()
    for word, value in zip(words, words, strict=True):
        if word == "-m":
            found |= PackOptions(psram=tuple(place.removesuffix(":psram") for place in value.split(",")))
        elif word == "--threshold4":
            found |= PackOptions(threshold4=int(value))
        elif word == "--dma_prefetch":
            found |= PackOptions(prefetch=value != "False")
        else:
            raise ValueError(f"packer option {word} is not known")
    return found
