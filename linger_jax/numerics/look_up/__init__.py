"""Functions of a few bits as tables of all their results, exact to the bit wherever they are read."""

from linger_jax.numerics.look_up.function_table import FIRST_OPERAND as FIRST_OPERAND
from linger_jax.numerics.look_up.function_table import OPERAND_BITS as OPERAND_BITS
from linger_jax.numerics.look_up.function_table import TABLE_SIZE as TABLE_SIZE
from linger_jax.numerics.look_up.function_table import FunctionTable as FunctionTable
from linger_jax.numerics.look_up.function_table import function_table as function_table
from linger_jax.numerics.look_up.function_table import on_grid as on_grid
from linger_jax.numerics.look_up.host_evaluation import CALLS as CALLS
from linger_jax.numerics.look_up.host_evaluation import NoHostFunctionError as NoHostFunctionError
from linger_jax.numerics.look_up.host_evaluation import evaluated_on_host as evaluated_on_host
from linger_jax.numerics.look_up.host_evaluation import unknown_to_host as unknown_to_host
