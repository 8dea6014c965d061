"""What was measured: verdicts of the packer and of the chips' executors on files of linger 3.0.9.

``device_verdicts.json`` holds what the ``case.json`` of every golden device case says.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Sequence
from pathlib import Path

from linger_jax.config import Platform
from linger_jax.export.onnx.onnx_file import FileGraph, FileNode, read_onnx

FILE = Path(__file__).with_name("device_verdicts.json")
# One name for an operator of both dialects (docs/specification/onnx_export.md section 4.1).
_ALIASES = {"GluInt": "QGLU", "LayerNormInt": "QLayerNorm"}


@dataclasses.dataclass(frozen=True)
class Case:
    """One measured file.

    Attributes:
      name: of the golden case.
      platform: the chip.
      operators: of the file.
      verdict: ``equal``, ``equal with ...``, ``DIFFERS``, ``CRASH in executor`` or ``REJECTED by packer``.
    """

    name: str
    platform: Platform
    operators: tuple[str, ...]
    verdict: str

    @property
    def ran(self) -> bool:
        """Whether the executor ran it, rightly or not."""
        return not self.verdict.startswith("REJECTED")


def operator_of(graph: FileGraph, node: FileNode) -> str:
    """An operator with what may matter to an executor: ``QConv2d, depthwise``, ``QLSTM, backwards``."""
    name = node.written
    kinds = []
    if node.integer("go_forward", 1) == 0:
        kinds.append("backwards")
    if node.integer("group", 1) > 1:
        kinds.append("depthwise" if graph.constants[node.inputs[1]].shape[1] == 1 else "grouped")
    if max(node.integers("dilations", (1,))) > 1:
        kinds.append("dilated")
    return ", ".join([_ALIASES.get(name, name), *kinds])


def read_cases(golden: Path) -> list[Case]:
    """The cases of a folder of golden device files."""
    cases = []
    for file in sorted(golden.glob("*/case.json")):
        case = json.loads(file.read_text())
        graph = read_onnx(file.with_name("model.onnx"))
        operators = tuple(sorted({operator_of(graph, node) for node in graph.nodes}))
        cases.append(Case(case["name"], Platform(case["platform"]), operators, case["verdict"].partition(" with ")[0]))
    return cases


def write_cases(cases: Sequence[Case]) -> None:
    """Keeps cases in the repository."""
    lines = ",\n".join(f"  {json.dumps(dataclasses.asdict(case))}" for case in cases)
    FILE.write_text(f"[\n{lines}\n]\n")


@functools.cache
def kept_cases() -> tuple[Case, ...]:
    """The cases that the repository keeps."""
    found = json.loads(FILE.read_text())
    return tuple(Case(c["name"], Platform(c["platform"]), tuple(c["operators"]), c["verdict"]) for c in found)


def measured_platforms() -> frozenset[Platform]:
    """Chips with an executor."""
    return frozenset(case.platform for case in kept_cases() if case.ran)


def measured_equal(platform: Platform) -> frozenset[str]:
    """Operators of the files that the executor of a chip computed to the bit."""
    return frozenset(op for c in kept_cases() if c.platform is platform and c.verdict == "equal" for op in c.operators)
