"""Ranks and orders of axes that the packer reads: planes of height one, products of three axes, the last axis."""

from linger_jax.export.dialects.thinker.axes.large_planes import height_one as height_one
from linger_jax.export.dialects.thinker.axes.last_axis import functions_of_the_last_axis as functions_of_the_last_axis
from linger_jax.export.dialects.thinker.axes.linear_rows import rows_of_linear_layers as rows_of_linear_layers
from linger_jax.export.dialects.thinker.axes.matrices import three_axes as three_axes
from linger_jax.export.dialects.thinker.axes.normalized_rows import rows_of_layer_norms as rows_of_layer_norms
from linger_jax.export.dialects.thinker.axes.reshapes import one_reshape as one_reshape
from linger_jax.export.dialects.thinker.axes.reshapes import reshapes_for_axes as reshapes_for_axes
from linger_jax.export.dialects.thinker.axes.selections import one_axis_a_slice as one_axis_a_slice
