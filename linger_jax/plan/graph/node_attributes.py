"""What ``Node.attributes`` holds beside the parameters of JAX's own equation: our keys, each with its one meaning.

The keys of ``LayerInfo.attributes``, which describe a Flax module, stand in staging/layer_kinds.py.
"""

from __future__ import annotations

PRIMITIVE = "primitive"
"""Of every node that was one equation: JAX's name of it, which a decided move no longer has in ``op``."""

POOL = "pool"
"""Of an average pool: its ``AveragePool``."""

SCAN_ID = "scan"
"""Of a scan: its serial and its length, as they stand in the stacks of values and quantizers."""
USED = "used"
"""Of a decided ``remat``: paths of the quantizers inside."""
STACKED = "stacked"
"""Of a decided scan: paths of the quantizers whose state has a slice for each iteration."""
CARRIED = "carried"
"""Of a decided scan: paths of the quantizers whose state goes from one iteration to the next."""
CARRY_BITS = "carry_bits"
"""Of a decided scan: bits of each carry that stays a QTensor, else None."""

WEIGHT_QUANTIZER = "weight_quantizer"
"""Of a decided layer with one weight: path of its weight quantizer; another layer's where two share a parameter."""
ROWS = "rows"
"""Of a decided LayerNorm: the ``RowArithmetic`` of its rows."""
GRU_FORM = "gru_form"
"""Of a decided GRU: the ``GruForm`` of its cell."""
HOLDS = "holds"
"""Of a plain convolution: path of the normalization that is folded into it."""
COMPUTED_FROM = "computed_from"
"""Of a product that is no layer: the parameters that one operand is computed from, other than as a view."""

RESULTS = "results"
"""Of a table: the ``FunctionTable`` of what it computes."""
NO_TABLE = "no_table"
"""Of a step that is a function of each element: why it is no table."""
