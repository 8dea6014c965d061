"""What a chip's packer and executor make of a drawn model, beside what the device lint says of it."""

from __future__ import annotations

import dataclasses
import tempfile
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np

import linger_jax
from linger_jax.errors import DeviceLintError, LingerError
from linger_jax.export.onnx import FileNode
from tests.equality.device.files import Integers, first_nodes
from tests.equality.device.simulator import Device, Ran
from tests.equality.drawn.case import Case
from tests.equality.judging import made, reason

FAULTS = ("packer refuses", "differs", "noise", "error", "hang", "failed")
"""Of a file that the lint accepts."""
_SHOWN = ("kernel_shape", "strides", "pads", "dilations", "group", "axis", "dim", "perm", "x_bits", "o_bits")


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What came of a case.

    Attributes:
      outcome: ``equal``, ``refused`` (by the lint), ``no file`` (refused before the lint), ``not judged``
        (the simulator lacks the operator), or one of ``FAULTS``.
      reasons: check and operator of each finding that refuses the file, or why there is none.
      operator: the first node that the executor computes otherwise, or that stops it; empty where it is not known.
      message: of packer or executor, and that node with its shapes and scales.
      beyond: what came of a refused file that was packed and run all the same; empty where it was not.
    """

    outcome: str
    reasons: tuple[str, ...] = ()
    operator: str = ""
    message: str = ""
    beyond: str = ""

    def alike(self, other: Verdict) -> bool:
        """Whether another verdict is about the same fault."""
        return (self.outcome, self.operator) == (other.outcome, other.operator)


def judge(case: Case, device: Device, *, refused_too: bool) -> Verdict:
    """Exports a case strictly, packs and runs it.

    Args:
      case: of some samples.
      device: packer and executor.
      refused_too: whether what the lint refuses is packed and run all the same.
    """
    with warnings.catch_warnings(), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        warnings.simplefilter("ignore")
        with tempfile.TemporaryDirectory() as folder:
            return _judged(case, device, Path(folder, "model.onnx"), refused_too=refused_too)


def _judged(case: Case, device: Device, path: Path, *, refused_too: bool) -> Verdict:
    try:
        names = made(case)
    except Exception as error:
        return Verdict("no file", (reason(error),))
    inputs = tuple(np.asarray(x) for x in names["inputs"])

    def export(*, strict: bool) -> None:
        first = tuple(x[:1] for x in inputs)
        linger_jax.export_onnx(names["qmodel"], names["variables"], first, path, "thinker", strict=strict)

    try:
        export(strict=True)
    except DeviceLintError as error:
        found = error.report.blocking
        reasons = tuple(dict.fromkeys(f"{finding.check}: {finding.op}" for finding in found))
        told = "; ".join(dict.fromkeys(f"{f.check}: {f.op}: {f.found} (allowed: {f.limit})" for f in found))
        if not refused_too:
            return Verdict("refused", reasons, message=told)
        export(strict=False)
        return Verdict("refused", reasons, message=told, beyond=_executed(device, path, inputs, probing=False).outcome)
    except LingerError as error:
        return Verdict("no file", (reason(error),))
    return _executed(device, path, inputs, probing=True)


def _executed(device: Device, path: Path, inputs: tuple[Any, ...], *, probing: bool) -> Verdict:
    try:
        integers = Integers(path, inputs)
        fed, outputs = integers.fed(), integers.outputs
        ran = device.run(path, fed, len(outputs))
        wrong = compared(ran, integers, outputs)
        if wrong is None:
            return Verdict("equal")
        outcome, message = wrong
        if outcome == "packer refuses":
            return Verdict(outcome, operator=reason(LingerError(message)), message=message)
        if not probing or outcome not in FAULTS:
            return Verdict(outcome, message=message)
        node = _first_at_fault(device, integers, fed)
    except Exception as error:
        return Verdict("failed", operator=reason(error), message=str(error))
    if node is None:
        return Verdict(outcome, operator="the file as a whole", message=message)
    return Verdict(outcome, operator=node.written, message=f"{message}; first at {_described(integers, node)}")


def compared(ran: Ran, integers: Integers, outputs: tuple[str, ...]) -> tuple[str, str] | None:
    """Outcome and message where the executor did not give the runner's integers."""
    if ran.outcome != "ran":
        return ran.outcome, ran.message
    for wanted, found in zip(integers.of(outputs), ran.outputs, strict=True):
        if len(found) != len(outputs):
            return "differs", f"{len(found)} outputs, not {len(outputs)}"
        for name, got in zip(outputs, found, strict=True):
            want = wanted[name]
            if got.size != want.size:
                return "differs", f"{name} has shape {got.shape}, not {want.shape}"
            off = np.count_nonzero(got.ravel() != want.ravel())
            if off:
                return "differs", f"{name}: {off} of {want.size} integers differ"
    return None


def _first_at_fault(device: Device, integers: Integers, fed: list[list[Any]]) -> FileNode | None:
    """By halves: the first node with which the file, cut behind it, goes wrong."""
    nodes = [node for node in integers.nodes if node.written not in ("Quant", "Dequant")]

    def right(node: FileNode) -> bool:
        tensor = node.outputs[0]
        with tempfile.TemporaryDirectory() as folder:
            cut = Path(folder, "model.onnx")
            shape = integers.of([tensor])[0][tensor].shape
            kept = first_nodes(integers.path, tensor, integers.scale(tensor), shape, cut)
            given = [[x for name, x in zip(integers.inputs, sample, strict=True) if name in kept] for sample in fed]
            ran = device.run(cut, given, 1)
            # A few nodes alone may lack what the packer wants of every file: that says nothing of them.
            return ran.outcome == "packer refuses" or compared(ran, integers, (tensor,)) is None

    below, above = -1, len(nodes)  # right up to below, wrong from above on
    while above - below > 1:
        middle = (below + above) // 2
        if right(nodes[middle]):
            below = middle
        else:
            above = middle
    return nodes[above] if above < len(nodes) else None


def _described(integers: Integers, node: FileNode) -> str:
    names = [name for name in (*node.inputs, node.outputs[0]) if name and name in _made(integers)]
    values = integers.of(names)[0] if names else {}
    shapes = " ".join("x".join(map(str, values[name].shape)) for name in names)
    scales = {name: value for name, value in node.attributes.items() if name.startswith("scale") or name in _SHOWN}
    return f"{node.written} ({node.name}) of shapes {shapes}, {scales}"


def _made(integers: Integers) -> set[str]:
    return {name for node in integers.nodes for name in node.outputs}
