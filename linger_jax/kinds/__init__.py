"""What is known of each kind of layer and operator, as records: facts that several rooms read, and no behaviour."""

from linger_jax.kinds.onnx_operators import CONVOLUTIONS as CONVOLUTIONS
from linger_jax.kinds.onnx_operators import TRANSPOSED as TRANSPOSED
from linger_jax.kinds.operator_kinds import KIND_OF_NODE as KIND_OF_NODE
from linger_jax.kinds.operator_kinds import OPERATOR_NAMES as OPERATOR_NAMES
from linger_jax.kinds.operator_kinds import OPERATORS as OPERATORS
from linger_jax.kinds.operator_kinds import OperatorKind as OperatorKind
from linger_jax.kinds.recurrent_cells import GATE_LETTERS as GATE_LETTERS
from linger_jax.kinds.recurrent_cells import GATES as GATES
from linger_jax.kinds.recurrent_cells import RECURRENT_KINDS as RECURRENT_KINDS
from linger_jax.kinds.recurrent_cells import CellKind as CellKind
