"""The rule of every step of a plan; importing this registers them all."""

from __future__ import annotations

from linger_jax.export.lower import lower_moves, lower_operators, lower_products, lower_weighted
from linger_jax.export.lower.lowering_step import LoweringRule, lowers
from linger_jax.export.lower.recurrent import lower_recurrent
from linger_jax.kinds import MOVED
from linger_jax.plan import Node

REGISTERING = (lower_moves, lower_operators, lower_products, lower_recurrent, lower_weighted)
"""The modules that hold the rules."""


def rule_of(node: Node) -> LoweringRule | None:
    """The rule of a step; None where it has no form in a file as it stands in the plan, quantized or as float."""
    if _moves_anything(node):
        return lowers.get(MOVED)
    takes_floats = node.kind is not None and node.kind.file.takes_floats
    return lowers.get(node.kind) if node.quantized or takes_floats else None


def _moves_anything(node: Node) -> bool:
    """Whether it is a move that the plan left alone: floats and integers are moved alike."""
    is_step = node.layer is None and node.kind not in lowers
    return is_step and node.move is not None and node.move.takes_floats
