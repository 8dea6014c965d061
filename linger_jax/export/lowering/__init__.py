"""From steps of the plan to nodes of a file, one file an idea."""

from collections.abc import Mapping

from linger_jax.export.lowering import operators, products, recurrent, structural, weighted
from linger_jax.export.lowering.call import Rule

RULES: Mapping[str, Rule] = {
    **products.RULES,
    **weighted.RULES,
    **operators.RULES,
    **structural.RULES,
    **recurrent.RULES,
}
"""Rule of every step, by the plan's name for it."""
