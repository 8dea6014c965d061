"""A dialect: what a finished graph becomes before it is written, and for what."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from linger_jax.export.onnx import FileDialect, OnnxGraph
from linger_jax.targets import Device, Platform, target_of


@dataclasses.dataclass(frozen=True)
class Destination:
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
    """One rule of a dialect: same integers, other nodes.

    Attributes:
      name: of the rule.
      source: the row of the specification that asks for it.
      apply: changes a graph in place.
    """

    name: str
    source: str
    apply: Callable[[OnnxGraph, Destination], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dialect:
    """How files of a dialect are made.

    A new dialect is a record in a file of its own, a place in the list of ``dialects/__init__.py``, and what a reader
    has to know of it in ``export/onnx/file_dialect.py``.

    Attributes:
      files: what a reader has to know of its files.
      summary: what it is for, for the help of the command line.
      rewrites: what is done to the nodes that the plan's steps became, in order.
      one_sample: an example input of many samples is cut to its first.
      biases_as_evaluated: biases are the integers that evaluation added, whatever the configuration says.
      checked: the device lint judges a file before it is written.
    """

    files: FileDialect
    summary: str
    rewrites: tuple[Rewrite, ...]
    one_sample: bool
    biases_as_evaluated: bool
    checked: bool

    @property
    def name(self) -> str:
        """What ``export_onnx`` and the file's metadata call it."""
        return self.files.name

    def rewrite(
        self, graph: OnnxGraph, destination: Destination, after: Callable[[Rewrite], None] | None = None
    ) -> None:
        """Rewrites a finished graph in place. The integers of every graph output stay what they are.

        Args:
          graph: as the steps of the plan were written.
          destination: what the file is for.
          after: is told of each rewrite that was applied.
        """
        for rewrite in self.rewrites:
            graph.drop_dead()
            rewrite.apply(graph, destination)
            if after is not None:
                after(rewrite)
        graph.rename_intermediates()
