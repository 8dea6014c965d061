"""Replays device cases through the packer: what the device computes packs, the rest is refused with a reason.

What a case asks for is judged from its verdict and its reasons alone:

* the executor was equal: the file must be written, and must pack with the options that the lint names;
* only the exporter stood in the way (a name, a rank, an attribute, a packer option): the same;
* the executor computes other integers, or the network has no form on the device: the lint must say so.
"""

from __future__ import annotations

import enum
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import linger_jax
from linger_jax.errors import DeviceLintError, PackError
from linger_jax.export.onnx import FileGraph, read_onnx
from linger_jax.export.packing.packer import find_packer
from tests.golden.case import Case
from tests.golden.device import exported
from tests.golden.outcome import NotSupportedError


class Wanted(enum.Enum):
    """What becomes of a case."""

    packed = "a package"
    refused = "a refusal by the lint"
    either = "a package or a refusal by the lint"


# Reasons of cases, by what an exporter can do about them.
_EXPORTERS = (
    re.compile(r"no translation for op name Q(Matmul|GLU|BatchNorm1d|ConvTranspose1d|AvgPool1d)$"),
    re.compile(r"Conv2d with height 1 is fine"),
    re.compile(r"place its output in PSRAM"),
    re.compile(r"^venus: linger writes quant_mode only"),
    re.compile(r"^QGLU: executor needs a non-negative dim$"),
    # A table of the function's results (docs/deployment.md, functions as tables).
    re.compile(r"op name Q(Gelu|Swish)$"),
    re.compile(r"^QTanh: packer demands an int16 input"),
    re.compile(r"^QSigmoid int8 on venusA: "),
)
# Sometimes: where other nodes that the executor computes right give the same integers (docs/onnx_files.md).
_PERHAPS = (
    re.compile(r"^Clip: "),
    re.compile(r"^Split: "),
    re.compile(r"op name QGlobalAveragePool2d$"),
    re.compile(r"^QAvgPool2d output scale above input scale"),
    re.compile(r"^QCat input scale above output scale"),
    re.compile(r"^4-D Transpose "),
    re.compile(r"^QConv2d kernel above 5 "),
)


def wanted(meta: Mapping[str, Any]) -> Wanted:
    """What becomes of a case.

    Args:
      meta: its description.
    """
    if str(meta["verdict"]).startswith("equal"):
        return Wanted.packed
    reasons = [str(reason) for reason in meta["known_reasons"]]
    if not reasons:  # the packer's own message is the only reason
        told = str(meta["device"].get("pack_error", ""))
        return Wanted.packed if "exactly one input" in told else Wanted.either
    if not all(any(p.search(reason) for p in (*_EXPORTERS, *_PERHAPS)) for reason in reasons):
        return Wanted.refused
    if _tried_in_vain(meta) and any("PSRAM" in r for r in reasons) and not any("height 1" in r for r in reasons):
        return Wanted.refused
    return Wanted.either if any(p.search(reason) for p in _PERHAPS for reason in reasons) else Wanted.packed


def _tried_in_vain(meta: Mapping[str, Any]) -> bool:
    """Whether the executor was wrong with tensors in PSRAM, too."""
    tried = [v for v in meta["device_variants"] if "psram" in (v.get("packer_options") or "")]
    return any(variant.get("equal") is False for variant in tried)


def replay(case: Case) -> list[str]:
    """Mismatches of one case; none when it passes.

    Raises:
      NotSupportedError: no packer is installed.
    """
    try:
        packer = find_packer()
    except PackError as error:
        raise NotSupportedError("no tpacker: make pack-env") from error
    want = wanted(case.meta)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "thinker.onnx"
        try:
            exported.export(case, path, "thinker")
        except DeviceLintError as refusal:
            return _refused_well(refusal, want)
        if want is Wanted.refused:
            return [f"is written for the device, though {'; '.join(case.meta['known_reasons'])}"]
        wrong = exported.run_matches("thinker", path, case)
        try:
            report = linger_jax.pack(path, path.with_suffix(".pkg"), packer=packer)
        except (DeviceLintError, PackError) as error:
            return [*wrong, f"is written, and then: {error}"]
        return wrong + _options_cover(case.meta, report.options, read_onnx(path))


def _refused_well(refusal: DeviceLintError, want: Wanted) -> list[str]:
    """A refusal is right where one is wanted; each finding says what to do."""
    wrong = [f"is refused, where {want.value} is wanted: {refusal}"] if want is Wanted.packed else []
    for finding in refusal.report.blocking:
        wrong += [f"{finding}: has no {part}" for part in ("found", "remedy") if not getattr(finding, part)]
    return wrong


_NEED_PSRAM = {"QLinear", "GluInt"}
"""Of several rows; rows that are the points of a convolution need none."""


def _options_cover(meta: Mapping[str, Any], options: tuple[str, ...], graph: FileGraph) -> list[str]:
    """What made the executor equal is among the options: no prefetch, tensors in PSRAM."""
    verdict, given = str(meta["verdict"]), " ".join(options)
    wrong = []
    if "--dma_prefetch False" in verdict and "--dma_prefetch False" not in given:
        wrong.append(f"packs with {given or 'no option'}, which leaves the prefetch on; {verdict}")
    holds = {node.written for node in graph.computing}
    in_psram = ("psram" in verdict or "--threshold4 0" in verdict) and bool(_NEED_PSRAM & holds)
    if in_psram and not ("psram" in given or "--threshold4 0" in given):
        wrong.append(f"packs with {given or 'no option'}, which puts nothing into PSRAM; {verdict}")
    named = [entry.rpartition(":")[0] for entry in given.partition("-m ")[2].partition(" ")[0].split(",") if entry]
    known = {tensor for node in graph.nodes for tensor in (*node.inputs, *node.outputs)}
    return wrong + [f"option -m names {name}, which the file does not have" for name in named if name not in known]
