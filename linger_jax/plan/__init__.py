"""The plan: which node is quantized, how, and under which name."""

from linger_jax.errors import PlanError as PlanError
from linger_jax.plan.coverage_table import Row as Row
from linger_jax.plan.decide.operator_kinds import KIND_OF_NODE as KIND_OF_NODE
from linger_jax.plan.decide.operator_kinds import OPERATOR_NAMES as OPERATOR_NAMES
from linger_jax.plan.decide.operator_kinds import OPERATORS as OPERATORS
from linger_jax.plan.decide.operator_kinds import OperatorKind as OperatorKind
from linger_jax.plan.decide.plan_layers import CONSTRAINED_LAYERS as CONSTRAINED_LAYERS
from linger_jax.plan.decide.plan_layers import LAYER_ROLES as LAYER_ROLES
from linger_jax.plan.fuse.fusion import CONV_BN as CONV_BN
from linger_jax.plan.fuse.fusion import FusedPair as FusedPair
from linger_jax.plan.fuse.fusion import Fusion as Fusion
from linger_jax.plan.fuse.fusion_search import find_fusion as find_fusion
from linger_jax.plan.graph.graph import Atom as Atom
from linger_jax.plan.graph.graph import Constant as Constant
from linger_jax.plan.graph.graph import Graph as Graph
from linger_jax.plan.graph.graph import Node as Node
from linger_jax.plan.graph.graph import Quantizer as Quantizer
from linger_jax.plan.graph.graph import ValueInfo as ValueInfo
from linger_jax.plan.multiply_accumulates import MultiplyAccumulates as MultiplyAccumulates
from linger_jax.plan.plan import Plan as Plan
from linger_jax.plan.plan import build_plan as build_plan
from linger_jax.plan.settings import PlanSettings as PlanSettings
