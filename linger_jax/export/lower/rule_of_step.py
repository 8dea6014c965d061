"""The rule of every step of a plan, by the plan's name for it."""

from __future__ import annotations

from collections.abc import Mapping

from linger_jax.export.lower import lower_moves, lower_operators, lower_products, lower_recurrent, lower_weighted
from linger_jax.export.lower.lowering_step import LoweringRule

RULES: Mapping[str, LoweringRule] = {
    **lower_products.RULES,
    **lower_weighted.RULES,
    **lower_operators.RULES,
    **lower_moves.RULES,
    **lower_recurrent.RULES,
}
"""Rule of every step, by the plan's name for it."""
