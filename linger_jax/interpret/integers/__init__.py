"""Integer evaluation: what layers and operators compute on the chip's integers instead of in float32.

A quantized value is its integers over a power of two, and float32 holds integers of up to 24 bits exactly; so values
travel as in every other mode, and only what sums or multiplies takes the integers out and brings its result back.
"""

from linger_jax.interpret.integers.integer_values import add_on_output_grid as add_on_output_grid
from linger_jax.interpret.integers.integer_values import bias_of as bias_of
from linger_jax.interpret.integers.integer_values import contract as contract
from linger_jax.interpret.integers.integer_values import exponent_of as exponent_of
from linger_jax.interpret.integers.integer_values import linear as linear
from linger_jax.interpret.integers.integer_values import multiply as multiply
from linger_jax.interpret.integers.integer_values import requantized as requantized
from linger_jax.interpret.integers.integer_values import scaled_and_shifted as scaled_and_shifted
from linger_jax.interpret.integers.layer_sum import layer_sum as layer_sum
