"""The graph of a plan: values, nodes, owners, and what is known of JAX's equations."""

from linger_jax.plan.graph.equations import is_library_call as is_library_call
from linger_jax.plan.graph.equations import source_line as source_line
from linger_jax.plan.graph.graph import Atom as Atom
from linger_jax.plan.graph.graph import Constant as Constant
from linger_jax.plan.graph.graph import Graph as Graph
from linger_jax.plan.graph.graph import Node as Node
from linger_jax.plan.graph.graph import Quantizer as Quantizer
from linger_jax.plan.graph.graph import Scan as Scan
from linger_jax.plan.graph.graph import ValueId as ValueId
from linger_jax.plan.graph.graph import ValueInfo as ValueInfo
from linger_jax.plan.graph.kernel_layout import FileLayout as FileLayout
from linger_jax.plan.graph.kernel_layout import file_layout as file_layout
from linger_jax.plan.graph.owners import Composite as Composite
from linger_jax.plan.graph.owners import Owner as Owner
from linger_jax.plan.graph.owners import OwnerStack as OwnerStack
from linger_jax.plan.graph.primitives import INLINED_LIBRARY_CALLS as INLINED_LIBRARY_CALLS
from linger_jax.plan.graph.uses import Uses as Uses
