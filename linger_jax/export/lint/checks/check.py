"""A check: for which operators and chips it asks, and what."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable

from linger_jax.export.lint.finding import Problem
from linger_jax.export.lint.node_view import NodeView
from linger_jax.export.lint.program import Program
from linger_jax.kinds import OnnxOperator
from linger_jax.targets import Executor


def every(executor: Executor) -> bool:
    """Every chip."""
    del executor
    return True


def measured(executor: Executor) -> bool:
    """Chips whose executor was measured (docs/specification/onnx_export.md section 5)."""
    return executor.measured


@dataclasses.dataclass(frozen=True)
class Check:
    """One row of the lint's table.

    Attributes:
      name: for messages.
      look: what it has to say about a node.
      operators: None for all.
      chips: those that it asks for, by what is known of their executor.
    """

    name: str
    look: Callable[[NodeView, Program], Iterable[Problem]]
    operators: Collection[OnnxOperator] | None = None
    chips: Callable[[Executor], bool] = every

    def concerns(self, view: NodeView, program: Program) -> bool:
        """Whether it asks about a node."""
        return self.chips(program.device.executor) and (self.operators is None or view.operator in self.operators)
