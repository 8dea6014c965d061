"""Sums and products of evaluation: the chip's integers instead of float32 (docs/decisions.md D27).

A quantized value is its integers over a power of two, and float32 holds integers of up to 24 bits exactly; so values
travel as in every other mode, and only what sums or multiplies takes the integers out and brings its result back. The
gradient of an evaluation is that of the float sum.
"""

from linger_jax.interpret.integers.integer_values import add_on_output_grid as add_on_output_grid
from linger_jax.interpret.integers.integer_values import at_output as at_output
from linger_jax.interpret.integers.integer_values import bias_on_grid as bias_on_grid
from linger_jax.interpret.integers.integer_values import contract as contract
from linger_jax.interpret.integers.integer_values import exponent_of as exponent_of
from linger_jax.interpret.integers.integer_values import integers_of as integers_of
from linger_jax.interpret.integers.integer_values import multiply as multiply
from linger_jax.interpret.integers.integer_values import operands as operands
from linger_jax.interpret.integers.integer_values import regridded as regridded
from linger_jax.interpret.integers.layer_sum import layer_sum as layer_sum
from linger_jax.interpret.integers.unknown import any_nan as any_nan
