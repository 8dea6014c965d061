"""Convolutions in forms that packer and executor have (docs/specification/executor.md section 4)."""

from linger_jax.export.dialects.thinker.convolutions.as_transposed import (
    convolutions_as_transposed as convolutions_as_transposed,
)
from linger_jax.export.dialects.thinker.convolutions.as_transposed import transposed_with_bias as transposed_with_bias
from linger_jax.export.dialects.thinker.convolutions.groups import groups_of_one_result as groups_of_one_result
from linger_jax.export.dialects.thinker.convolutions.groups import narrow_groups as narrow_groups
from linger_jax.export.dialects.thinker.convolutions.in_two import two_convolutions as two_convolutions
from linger_jax.export.dialects.thinker.convolutions.padding import (
    kernels_as_wide_as_strides as kernels_as_wide_as_strides,
)
from linger_jax.export.dialects.thinker.convolutions.padding import pads_in_convolutions as pads_in_convolutions
