"""Normalizations in integers, and folded into the convolution before them."""

from linger_jax.numerics.normalization.integer_layer_norm import EPSILON as EPSILON
from linger_jax.numerics.normalization.integer_layer_norm import EXECUTOR_ROWS as EXECUTOR_ROWS
from linger_jax.numerics.normalization.integer_layer_norm import KERNEL_ROWS as KERNEL_ROWS
from linger_jax.numerics.normalization.integer_layer_norm import Normalized as Normalized
from linger_jax.numerics.normalization.integer_layer_norm import RowArithmetic as RowArithmetic
from linger_jax.numerics.normalization.integer_layer_norm import check_length as check_length
from linger_jax.numerics.normalization.integer_layer_norm import normalize as normalize
from linger_jax.numerics.normalization.norm_folding import fold_batch_norm as fold_batch_norm
