"""The packer's names of operators."""

from __future__ import annotations

import dataclasses
import functools
import importlib.resources
import json
from collections.abc import Mapping

from linger_jax.export.onnx import LINGER
from linger_jax.targets import Device

LINGER_PREFIX = f"{LINGER}::"


@dataclasses.dataclass(frozen=True)
class OperatorNames:
    """Names of one packer release.

    Attributes:
      kinds: linger's name of each internal one.
      accepted: written names that the packer takes on every platform.
    """

    kinds: Mapping[str, str]
    accepted: frozenset[str]

    def takes(self, written: str, device: Device) -> bool:
        """Whether the packer knows a name for a chip; it ignores the domain."""
        return written in self.accepted or written in device.own_operators

    def kind(self, written: str) -> str:
        """linger's name of an operator, under either name."""
        return self.kinds.get(written, written)


@functools.cache
def operator_names() -> OperatorNames:
    """The names of the packer that docs/specification/onnx_export.md section 4 describes."""
    text = importlib.resources.files("linger_jax.export.lint").joinpath("tables/operators.json").read_text()
    table = json.loads(text)
    internal: dict[str, str] = table["internal_names"]
    return OperatorNames(
        kinds={name: kind for kind, name in internal.items()},
        accepted=frozenset((*table["translated"], *internal.values(), *table["same"], *table["standard"])),
    )
