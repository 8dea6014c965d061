"""One rewriting of a graph, and what it is rewritten for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from linger_jax.config import Platform
from linger_jax.export.lint import Device, device, platforms
from linger_jax.export.onnx import OnnxGraph


@dataclasses.dataclass(frozen=True)
class Target:
    """What a file is for.

    Attributes:
      platform: the chip.
      opset: ONNX operator set of the file.
    """

    platform: Platform
    opset: int

    @property
    def limits(self) -> Device | None:
        """Of the chip; None for one that the packer does not know."""
        return device(self.platform) if self.platform in platforms() else None


@dataclasses.dataclass(frozen=True)
class Rewrite:
    """One rule of the dialect: same integers, other nodes.

    Attributes:
      name: of the rule.
      source: the row of the specification that asks for it.
      apply: changes a graph in place.
    """

    name: str
    source: str
    apply: Callable[[OnnxGraph, Target], None]
