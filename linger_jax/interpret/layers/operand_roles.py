"""Reading a layer's operands and writing its results by role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from linger_jax.interpret.context import Value
from linger_jax.plan import Node
from linger_jax.typing import Path


def by_role(node: Node, operands: Sequence[Value]) -> dict[Path, Value]:
    """Operands of a layer by role: ``("input", "0")``, ``("params", "kernel")``, ``("batch_stats", "mean")``..."""
    return dict(zip(node.layer_info.operands, operands, strict=True))


def results(node: Node, output: Value, updates: Mapping[Any, Any] | None = None) -> list[Value]:
    """A layer's results in order: its output and the updated variables."""
    updates = updates or {}
    return [output if role[0] == "output" else updates[role] for role in node.layer_info.results]
