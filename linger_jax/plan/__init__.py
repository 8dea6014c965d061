"""The plan: which node is quantized, how, and under which name."""

from linger_jax.errors import PlanError as PlanError
from linger_jax.plan.coverage_table import Row as Row
from linger_jax.plan.coverage_table import as_text as as_text
from linger_jax.plan.device_verdict import UNKNOWN as UNKNOWN
from linger_jax.plan.device_verdict import Cost as Cost
from linger_jax.plan.device_verdict import DeviceVerdict as DeviceVerdict
from linger_jax.plan.device_verdict import Judgement as Judgement
from linger_jax.plan.device_verdict import MemoryEstimate as MemoryEstimate
from linger_jax.plan.device_verdict import unjudged as unjudged
from linger_jax.plan.fuse import FusedPair as FusedPair
from linger_jax.plan.fuse import Fusion as Fusion
from linger_jax.plan.fuse import find_fusion as find_fusion
from linger_jax.plan.graph import Atom as Atom
from linger_jax.plan.graph import Constant as Constant
from linger_jax.plan.graph import Graph as Graph
from linger_jax.plan.graph import Node as Node
from linger_jax.plan.graph import Quantizer as Quantizer
from linger_jax.plan.graph import ValueInfo as ValueInfo
from linger_jax.plan.multiply_accumulates import MultiplyAccumulates as MultiplyAccumulates
from linger_jax.plan.plan import Plan as Plan
from linger_jax.plan.plan import build_plan as build_plan
from linger_jax.plan.semantics import Semantics as Semantics
from linger_jax.plan.semantics import semantics as semantics
from linger_jax.plan.settings import PlanSettings as PlanSettings
