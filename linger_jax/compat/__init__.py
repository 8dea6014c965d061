"""All of JAX and Flax that is private, unstable or different between the releases that are supported.

Nobody else imports such names (tests/compat/test_imports.py); each stands here as one function with one test. What
concerns Flax is imported from ``linger_jax.compat.linen``, since the numerics stand on this room and know
nothing of Flax.
"""

from linger_jax.compat.equations import CALL as CALL
from linger_jax.compat.equations import CUSTOM_JVP as CUSTOM_JVP
from linger_jax.compat.equations import CUSTOM_VJP as CUSTOM_VJP
from linger_jax.compat.equations import REMAT as REMAT
from linger_jax.compat.equations import SCAN as SCAN
from linger_jax.compat.equations import Operation as Operation
from linger_jax.compat.equations import bind_again as bind_again
from linger_jax.compat.equations import one_equation as one_equation
from linger_jax.compat.equations import operation as operation
from linger_jax.compat.equations import source_frames as source_frames
from linger_jax.compat.equations import with_parameters as with_parameters
from linger_jax.compat.host_values import on_host as on_host
from linger_jax.compat.jaxprs import ClosedJaxpr as ClosedJaxpr
from linger_jax.compat.jaxprs import JaxprEqn as JaxprEqn
from linger_jax.compat.jaxprs import Var as Var
from linger_jax.compat.jaxprs import as_function as as_function
from linger_jax.compat.jaxprs import constants as constants
from linger_jax.compat.jaxprs import equations as equations
from linger_jax.compat.jaxprs import evaluate as evaluate
from linger_jax.compat.jaxprs import function_file as function_file
from linger_jax.compat.jaxprs import function_name as function_name
from linger_jax.compat.jaxprs import inputs as inputs
from linger_jax.compat.jaxprs import is_literal as is_literal
from linger_jax.compat.jaxprs import jaxprs_in as jaxprs_in
from linger_jax.compat.jaxprs import outputs as outputs
from linger_jax.compat.jaxprs import without_unused as without_unused
from linger_jax.compat.primitives import Primitive as Primitive
from linger_jax.compat.primitives import new_primitive as new_primitive
from linger_jax.compat.shapes import explicit_padding as explicit_padding
from linger_jax.compat.shapes import leaf_count as leaf_count
from linger_jax.compat.shapes import parts_of_tuple as parts_of_tuple
from linger_jax.compat.tracing import context_number as context_number
from linger_jax.compat.tracing import evaluated_now as evaluated_now
from linger_jax.compat.tracing import holds_tracers as holds_tracers
from linger_jax.compat.tracing import is_tracer as is_tracer
from linger_jax.compat.tracing import user_context as user_context
from linger_jax.compat.tracing import wide_types as wide_types
