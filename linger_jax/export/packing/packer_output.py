"""What the packer prints: memory of a package, or why there is none.

The lines were read off runs of release 3.0.4 (docs/specification/onnx_export.md section 4).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_NEED = re.compile(r"MemType\.(\w+) need capacity: (\d{1,18}) Bytes")
_OPERATIONS = re.compile(r"total ops of model:(\d{1,18})(?!\d)")
_ERROR = re.compile(r"^Error occurred:\s*(.*)$", re.MULTILINE)
_USAGE = re.compile(r"^\S+: error: (.*)$", re.MULTILINE)
_OPERATOR_FILE = re.compile(r"[/\\]ops[/\\](\w+)\.py\", line")
_LAST_ERROR = re.compile(r"^(\w+(?:Error|Exception))\b:?\s*(.*)$", re.MULTILINE)

MEMORY_KINDS: Mapping[str, str] = {"SHARE_MEM": "share memory", "PSRAM": "PSRAM", "FLASH": "flash"}
"""The packer's names of memories, in the order of reports."""

# What a message means, and what to do; the first that fits. Sources: docs/specification/onnx_export.md sections 4.1 to
# 4.4.
_REMEDIES: tuple[tuple[str, str, str], ...] = (
    (
        "SHARE-MEM to be allocated",
        "",
        "place tensors in PSRAM with the packer options --threshold4 BYTES or -m NAME:psram, or make the maps smaller",
    ),
    ("SPSRAM to be allocated", "", "make the model smaller: its weights and large tensors do not fit the device"),
    (
        "'NoneType' object has no attribute 'set_input'",
        "the file holds an operator that the packer does not know",
        "export with dialect='thinker', which writes the packer's names",
    ),
    (
        "for QuantType",
        "a node lacks the attribute platform_quant",
        "export with dialect='thinker'; what still lacks it has no form on this platform",
    ),
    ("Platform mismatch", "the file is for another platform", "export for this platform, or pack for the file's"),
    (
        "onnx.mapping",
        "the packer's environment has an ONNX release that the packer does not work with",
        "make its environment anew: `make pack-env`, or onnx==1.18.0",
    ),
    ("No module named", "the packer's environment is not whole", "make it anew: `make pack-env`"),
    ("Error parsing message", "the file is no ONNX file, or a damaged one", "export it again"),
    (
        "argument -p/--platform",
        "this packer does not know the platform",
        "install the release that it is in: `make pack-env`",
    ),
)


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Why there is no package.

    Attributes:
      message: the packer's own word, in one line.
      meaning: what it means; empty where the message says it.
      remedy: what to do; empty where it is not known.
      operator: the packer's name of the kind of operator it stopped at; empty where it does not say.
    """

    message: str
    meaning: str = ""
    remedy: str = ""
    operator: str = ""

    def __str__(self) -> str:
        told = f"{self.meaning} ({self.message})" if self.meaning else self.message
        return f"{told}; {self.remedy}" if self.remedy else told


def memory_use(output: str) -> dict[str, int]:
    """Bytes by kind of memory, in the order of ``MEMORY_KINDS``, others last."""
    found = {kind: int(size) for kind, size in _NEED.findall(_plain(output))}
    order = [*MEMORY_KINDS, *found]
    return {MEMORY_KINDS.get(kind, kind): found[kind] for kind in dict.fromkeys(order) if kind in found}


def operations(output: str) -> int | None:
    """Operations of one run of the model."""
    found = _OPERATIONS.search(_plain(output))
    return int(found[1]) if found else None


def refusal(output: str, status: int) -> Refusal:
    """The reason in the output of a run that made no package.

    Args:
      output: of the run.
      status: its exit status.
    """
    text = _plain(output)
    message = _message(text, status)
    operators = _OPERATOR_FILE.findall(text)
    meaning, remedy = next(((m, r) for pattern, m, r in _REMEDIES if pattern in message), ("", ""))
    return Refusal(message, meaning, remedy, operators[-1] if operators else "")


def _message(text: str, status: int) -> str:
    for pattern in (_ERROR, _USAGE):
        found = pattern.search(text)
        if found and found[1].strip():
            return found[1].strip()
    last = _LAST_ERROR.findall(text)
    if last:
        kind, message = last[-1]
        return f"{kind}: {message}".rstrip(": ")
    lines = [line.strip(" =") for line in text.splitlines() if line.strip(" =")]
    told = f": {lines[-1]}" if lines else ""
    return f"ended with status {status}{told}"


def _plain(output: str) -> str:
    return _COLOUR.sub("", output)
