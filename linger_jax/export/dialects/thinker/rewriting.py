"""One rewriting of a graph, and what it is rewritten for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from linger_jax.export.onnx import OnnxGraph
from linger_jax.targets import Device, Platform, target_of


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
    def device(self) -> Device | None:
        """What packer and executor make of files for the chip; None for one that the packer does not know."""
        return target_of(self.platform).device


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
