"""The chips' integer kernels: sigmoid, tanh, gelu, swish, softmax, and the inverse square root of LayerNorm.

Integers in, integers out; docs/specification/chip_kernels.md. Nothing here defines a gradient: callers pass the float
function's gradient around the kernel.
"""

from linger_jax.numerics.chip_kernels.fixed_point import fixed_scale as fixed_scale
from linger_jax.numerics.chip_kernels.fixed_point import from_fixed_point as from_fixed_point
from linger_jax.numerics.chip_kernels.fixed_point import steps_to_fixed_point as steps_to_fixed_point
from linger_jax.numerics.chip_kernels.fixed_point import values_to_fixed_point as values_to_fixed_point
from linger_jax.numerics.chip_kernels.gelu_swish import gelu, swish
from linger_jax.numerics.chip_kernels.input_range import saturated_to, wrapped_int32
from linger_jax.numerics.chip_kernels.inverse_square_root import (
    doubling_factor,
    inverse_square_root,
    normalized,
)
from linger_jax.numerics.chip_kernels.kernel_table import (
    GATED_FRACTION_BITS,
    SIGMOID_GATE_FRACTION_BITS,
    SOFTMAX_INPUT_FRACTION_BITS,
    SOFTMAX_RESULT_FRACTION_BITS,
    gate_fraction_bits,
    input_fraction_bits,
    kernels_of,
    result_fraction_bits,
)
from linger_jax.numerics.chip_kernels.sigmoid import raw_sigmoid, sigmoid
from linger_jax.numerics.chip_kernels.softmax import softmax
from linger_jax.numerics.chip_kernels.tanh import raw_tanh, tanh
from linger_jax.numerics.clipping import saturated_int32

__all__ = [
    "GATED_FRACTION_BITS",
    "SIGMOID_GATE_FRACTION_BITS",
    "SOFTMAX_INPUT_FRACTION_BITS",
    "SOFTMAX_RESULT_FRACTION_BITS",
    "doubling_factor",
    "gate_fraction_bits",
    "gelu",
    "input_fraction_bits",
    "inverse_square_root",
    "kernels_of",
    "normalized",
    "raw_sigmoid",
    "raw_tanh",
    "result_fraction_bits",
    "saturated_int32",
    "saturated_to",
    "sigmoid",
    "softmax",
    "swish",
    "tanh",
    "wrapped_int32",
]
