"""A check: for which operators and chips it asks, and what."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable

from linger_jax.config import Platform
from linger_jax.export.lint.finding import Problem
from linger_jax.export.lint.node_view import NodeView
from linger_jax.export.lint.program import Program

EVERYWHERE = frozenset(Platform)
MEASURED = frozenset({Platform.arcs, Platform.venusA})
"""Chips whose executor was measured (docs/specification/onnx_export.md section 5)."""


@dataclasses.dataclass(frozen=True)
class Check:
    """One row of the lint's table.

    Attributes:
      name: for messages.
      look: what it has to say about a node.
      kinds: operators, under linger's names; None for all.
      platforms: chips.
    """

    name: str
    look: Callable[[NodeView, Program], Iterable[Problem]]
    kinds: Collection[str] | None = None
    platforms: Collection[Platform] = EVERYWHERE

    def concerns(self, view: NodeView, program: Program) -> bool:
        """Whether it asks about a node."""
        return program.platform in self.platforms and (self.kinds is None or view.kind in self.kinds)
