"""What each operator of a file computes, one file an idea."""

from collections.abc import Mapping, Sequence

from linger_jax.errors import ExportError
from linger_jax.export.runner.integer_tensor import Value
from linger_jax.export.runner.operators import (
    run_boundary,
    run_elementwise,
    run_functions,
    run_moves,
    run_pooling,
    run_recurrent,
    run_weighted,
)
from linger_jax.export.runner.operators.node_call import Call as Call
from linger_jax.export.runner.operators.node_call import RunRule
from linger_jax.foreign_file import translated
from linger_jax.kinds import OPERATOR_OF_NAME, OnnxOperator

RULES: Mapping[OnnxOperator, RunRule] = {
    **run_boundary.RULES,
    **run_weighted.RULES,
    **run_elementwise.RULES,
    **run_functions.RULES,
    **run_pooling.RULES,
    **run_recurrent.RULES,
    **run_moves.RULES,
}
"""Rule of every operator that can be run."""

RUN_NAMES: frozenset[str] = frozenset(name for name, operator in OPERATOR_OF_NAME.items() if operator in RULES)
"""Names under which a file may hold them, the packer's own included: same inputs, same attributes."""


def run_node(operator: OnnxOperator, call: Call) -> Sequence[Value]:
    """What a node makes of its operands.

    Args:
      operator: of the node, one of ``RULES``.
      call: the node and its operands.

    Raises:
      ExportError: the node is faulty: an attribute or operand is missing, or shapes do not fit.
    """
    node = call.node
    with translated(f"node {node.name} ({node.op})", ExportError, "its operands and attributes do not fit together"):
        return RULES[operator](call)
