"""What each operator of a file computes, one file an idea."""

from collections.abc import Mapping

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

_RULES: Mapping[str, RunRule] = {
    **run_boundary.RULES,
    **run_weighted.RULES,
    **run_elementwise.RULES,
    **run_functions.RULES,
    **run_pooling.RULES,
    **run_recurrent.RULES,
    **run_moves.RULES,
}
# The packer's own names (docs/specification/onnx_export.md section 4.1): same inputs, same attributes.
_INTERNAL_NAMES = {
    **{f"{name}Int": f"Q{name}" for name in ("Linear", "Conv1d", "Conv2d", "ConvTranspose2d", "BatchNorm2d")},
    **{f"{name}Int": f"Q{name}" for name in ("AvgPool2d", "Bmm", "Softmax", "LSTM", "GRU", "LayerNorm")},
    **{f"iq{name}": f"Q{name}" for name in ("Add", "Mul", "Cat", "Sigmoid", "Tanh")},
    "GluInt": "QGLU",
}

RULES: Mapping[str, RunRule] = {
    **_RULES,
    **{f"linger::{name}": _RULES[f"linger::{ours}"] for name, ours in _INTERNAL_NAMES.items()},
}
"""Rule of every operator that a file may hold, by name."""
