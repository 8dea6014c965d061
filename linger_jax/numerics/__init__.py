"""Exact arithmetic of the quantizers and the target chips; knows nothing of Flax or of models."""

from linger_jax.numerics import float_functions as float_functions
from linger_jax.numerics import int64 as int64
from linger_jax.numerics.accumulator import EXACT_BITS as EXACT_BITS
from linger_jax.numerics.accumulator import Accumulator as Accumulator
from linger_jax.numerics.clipping import clip_symmetric as clip_symmetric
from linger_jax.numerics.packed_mask import pack as pack
from linger_jax.numerics.packed_mask import relu as relu
from linger_jax.numerics.packed_mask import unpack as unpack
from linger_jax.numerics.rounding import round_half_even as round_half_even
from linger_jax.numerics.rounding import round_half_up as round_half_up
from linger_jax.numerics.rounding import round_scaled as round_scaled
from linger_jax.numerics.scale_rule import LARGEST_EXPONENT as LARGEST_EXPONENT
from linger_jax.numerics.scale_rule import LARGEST_SCALE as LARGEST_SCALE
from linger_jax.numerics.scale_rule import SMALLEST_SCALE as SMALLEST_SCALE
from linger_jax.numerics.scale_rule import SMALLEST_STATISTIC as SMALLEST_STATISTIC
from linger_jax.numerics.scale_rule import ExponentTies as ExponentTies
from linger_jax.numerics.scale_rule import exp2_rounded as exp2_rounded
from linger_jax.numerics.scale_rule import exponent_of_power_of_two as exponent_of_power_of_two
from linger_jax.numerics.scale_rule import is_power_of_two as is_power_of_two
from linger_jax.numerics.scale_rule import log2_rounded as log2_rounded
from linger_jax.numerics.scale_rule import power_of_two as power_of_two
from linger_jax.numerics.scale_rule import scale_of_statistic as scale_of_statistic
from linger_jax.numerics.scale_rule import scale_of_threshold as scale_of_threshold
from linger_jax.numerics.true_division import true_quotient as true_quotient
from linger_jax.numerics.true_division import true_reciprocal as true_reciprocal
