"""What the planner knows about JAX primitives, as data."""

from __future__ import annotations

# Results are values of operand 0, moved: scale and bits pass through (docs/specification/ops.md section 7,
# docs/architecture.md section 4).
STRUCTURAL = frozenset(
    {
        "reshape",
        "transpose",
        "slice",
        "squeeze",
        "expand_dims",
        "split",
        "unstack",
        "rev",
        "pad",
        "broadcast_in_dim",
        "gather",
        "dynamic_slice",
        "tile",
        "copy",
        "copy_p",
        "name",
        "stop_gradient",
        "sharding_constraint",
        "convert_element_type",
        "reduce_precision",
    }
)

# A parameter stays recognisable as one behind these (docs/decisions.md D23).
PROVENANCE = frozenset(
    {
        "reshape",
        "transpose",
        "slice",
        "squeeze",
        "expand_dims",
        "convert_element_type",
        "broadcast_in_dim",
        "split",
        "unstack",
        "rev",
        "copy",
        "name",
    }
)

# Parts of one array put together again, by a library function that only moves values (plan/recognize/library_calls.py).
JOIN = "join"

# Values of operand 0, and integers that say which.
SELECTING = frozenset({"top_k"})

# Result i is operand i, moved.
PARALLEL = frozenset({"sort", "optimization_barrier"})

# Inside a library function: float results of these are unchanged floats.
FLOAT_PRESERVING = STRUCTURAL | SELECTING | PARALLEL | {"select_n", "concatenate"}

# Library functions that are written as one jit but are operators of the plan when looked into.
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

# Adding only axes of length one: a sum stays the same sum behind these.
UNIT_AXES = frozenset({"reshape", "broadcast_in_dim", "squeeze", "expand_dims"})
