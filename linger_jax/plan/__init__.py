"""The plan: which node is quantized, how, and under which name."""

from linger_jax.errors import PlanError as PlanError
from linger_jax.plan.fusing import CONV_BN as CONV_BN
from linger_jax.plan.fusion import FusedPair as FusedPair
from linger_jax.plan.fusion import Fusion as Fusion
from linger_jax.plan.fusion_search import find_fusion as find_fusion
from linger_jax.plan.graph import Atom as Atom
from linger_jax.plan.graph import Constant as Constant
from linger_jax.plan.graph import Graph as Graph
from linger_jax.plan.graph import Node as Node
from linger_jax.plan.graph import Quantizer as Quantizer
from linger_jax.plan.graph import ValueInfo as ValueInfo
from linger_jax.plan.layers import CONSTRAINED_LAYERS as CONSTRAINED_LAYERS
from linger_jax.plan.layers import LAYER_ROLES as LAYER_ROLES
from linger_jax.plan.multiply_accumulates import MultiplyAccumulates as MultiplyAccumulates
from linger_jax.plan.operator_kinds import KIND_OF_NODE as KIND_OF_NODE
from linger_jax.plan.operator_kinds import OPERATOR_NAMES as OPERATOR_NAMES
from linger_jax.plan.operator_kinds import OPERATORS as OPERATORS
from linger_jax.plan.operator_kinds import OperatorKind as OperatorKind
from linger_jax.plan.plan import Plan as Plan
from linger_jax.plan.plan import build_plan as build_plan
from linger_jax.plan.report import Row as Row
from linger_jax.plan.settings import PlanSettings as PlanSettings
