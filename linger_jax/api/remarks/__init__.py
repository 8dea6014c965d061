"""What is told of scales and clamps, in warnings and in the plan."""

from linger_jax.api.remarks.clamp_remarks import with_cuts_told as with_cuts_told
from linger_jax.api.remarks.scale_remarks import scale_remarks as scale_remarks
from linger_jax.api.remarks.scale_remarks import warn_of_cut_biases as warn_of_cut_biases
