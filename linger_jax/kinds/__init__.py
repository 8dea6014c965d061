"""What is known of each kind of layer and operator, as records: facts that several rooms read, and no behaviour."""

from linger_jax.kinds.onnx_operator import AS_2D as AS_2D
from linger_jax.kinds.onnx_operator import BIAS_BITS as BIAS_BITS
from linger_jax.kinds.onnx_operator import LINGER as LINGER
from linger_jax.kinds.onnx_operator import UNKNOWN as UNKNOWN
from linger_jax.kinds.onnx_operator import USE_THINKER as USE_THINKER
from linger_jax.kinds.onnx_operator import Family as Family
from linger_jax.kinds.onnx_operator import OnnxOperator as OnnxOperator
from linger_jax.kinds.onnx_operator import Packing as Packing
from linger_jax.kinds.onnx_operator import Refusal as Refusal
from linger_jax.kinds.onnx_operator import Role as Role
from linger_jax.kinds.onnx_operator import full_name as full_name
from linger_jax.kinds.onnx_operators import ONNX_OPERATORS as ONNX_OPERATORS
from linger_jax.kinds.onnx_operators import OPERATOR_OF_NAME as OPERATOR_OF_NAME
from linger_jax.kinds.onnx_operators import PACKER_TAKES as PACKER_TAKES
from linger_jax.kinds.operator_kinds import KIND_OF_NODE as KIND_OF_NODE
from linger_jax.kinds.operator_kinds import OPERATOR_NAMES as OPERATOR_NAMES
from linger_jax.kinds.operator_kinds import OPERATORS as OPERATORS
from linger_jax.kinds.operator_kinds import OperatorKind as OperatorKind
from linger_jax.kinds.recurrent_cells import GATE_LETTERS as GATE_LETTERS
from linger_jax.kinds.recurrent_cells import GATES as GATES
from linger_jax.kinds.recurrent_cells import RECURRENT_KINDS as RECURRENT_KINDS
from linger_jax.kinds.recurrent_cells import CellKind as CellKind
