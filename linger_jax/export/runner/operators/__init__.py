"""What each operator of a file computes, one file an idea."""

from collections.abc import Mapping

from linger_jax.export.runner.operators import (
    boundary,
    elementwise,
    functions,
    pooling,
    recurrent,
    structural,
    weighted,
)
from linger_jax.export.runner.operators.call import Rule

RULES: Mapping[str, Rule] = {
    **boundary.RULES,
    **weighted.RULES,
    **elementwise.RULES,
    **functions.RULES,
    **pooling.RULES,
    **recurrent.RULES,
    **structural.RULES,
}
"""Rule of every operator that a file may hold, by name."""
