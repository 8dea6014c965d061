"""What the planner knows about JAX's library functions, as data; what it knows of moves stands in kinds/moves.py."""

from __future__ import annotations

INLINED_LIBRARY_CALLS = frozenset(
    {
        "matmul",
        "matvec",
        "vecmat",
        "vecdot",
        "dot",
        "vdot",
        "inner",
        "einsum",
        "_einsum",
        "tensordot",
        "add",
        "multiply",
        "mean",
        "_mean",
    }
)
"""Library functions that are written as one jit but are operators of the plan when looked into."""
