"""The rules of the dialect, in the order in which they are applied."""

from __future__ import annotations

from linger_jax.export.dialects.dialect import Dialect, Rewrite
from linger_jax.export.dialects.linger_dialect import LINGER
from linger_jax.export.dialects.thinker.axes import (
    functions_of_the_last_axis,
    height_one,
    one_axis_a_slice,
    one_reshape,
    reshapes_for_axes,
    rows_of_layer_norms,
    rows_of_linear_layers,
    three_axes,
)
from linger_jax.export.dialects.thinker.boundaries import dequantize_outputs, no_identity, quantize_inputs
from linger_jax.export.dialects.thinker.constant_addends import constants_in_additions
from linger_jax.export.dialects.thinker.convolutions import (
    convolutions_as_transposed,
    groups_of_one_result,
    kernels_as_wide_as_strides,
    narrow_groups,
    pads_in_convolutions,
    transposed_with_bias,
    two_convolutions,
)
from linger_jax.export.dialects.thinker.left_shifts import requants_for_left_shifts
from linger_jax.export.dialects.thinker.names_and_attributes import add_platform_attributes, rename
from linger_jax.export.dialects.thinker.operand_shapes import operands_of_one_shape
from linger_jax.export.dialects.thinker.pools import pools_of_the_plane, pools_on_their_grid
from linger_jax.export.dialects.thinker.rectifiers import rectifiers_for_clips
from linger_jax.export.dialects.thinker.reserve import scratch_memory
from linger_jax.export.dialects.thinker.roundings import half_up_for_other_roundings
from linger_jax.export.dialects.thinker.sequences import both_biases, last_state_of_output, one_sequence
from linger_jax.export.dialects.thinker.shared_weights import a_weight_a_node, an_addend_a_node
from linger_jax.export.dialects.thinker.splits_and_concatenations import (
    concatenations_for_pads,
    operands_on_the_result_grid,
    slices_for_splits,
)
from linger_jax.export.dialects.thinker.tables import tables_for_functions
from linger_jax.export.onnx import file_dialect

THINKER = Dialect(
    files=file_dialect.THINKER_FILES,
    summary="for the vendor's packer",
    rewrites=(
        *LINGER.rewrites,
        Rewrite("biases of sequences", "docs/specification/onnx_export.md section 3, row QLSTM", both_biases),
        Rewrite("sequences of one sample", "docs/specification/onnx_export.md section 5, row LSTM", one_sequence),
        Rewrite(
            "final states from outputs", "docs/specification/onnx_export.md section 3, row QLSTM", last_state_of_output
        ),
        Rewrite("Quants at the inputs", "docs/specification/onnx_export.md section 2, packer view", quantize_inputs),
        Rewrite(
            "Dequants at the outputs", "docs/specification/onnx_export.md section 2, packer view", dequantize_outputs
        ),
        Rewrite("no Identity", "docs/specification/onnx_export.md section 4.1, row Identity", no_identity),
        Rewrite("Pad in convolutions", "docs/specification/onnx_export.md section 4.1, row Pad", pads_in_convolutions),
        Rewrite("QCat for Pad", "docs/specification/executor.md section 4, row pad_by_cat", concatenations_for_pads),
        Rewrite("Slices for Split", "docs/specification/onnx_export.md section 4.1, row Split", slices_for_splits),
        Rewrite("one axis a Slice", "docs/specification/executor.md section 3, row Slice", one_axis_a_slice),
        Rewrite(
            "planes of height one", "docs/specification/onnx_export.md sections 4.1 and 5, rows of one axis", height_one
        ),
        Rewrite(
            "kernels as wide as strides",
            "docs/specification/onnx_export.md section 4.3, row stride",
            kernels_as_wide_as_strides,
        ),
        Rewrite(
            "two convolutions", "docs/specification/executor.md section 4, row strided_conv_as_two", two_convolutions
        ),
        Rewrite(
            "convolutions as transposed",
            "docs/specification/executor.md section 4, row conv_as_deconv",
            convolutions_as_transposed,
        ),
        Rewrite("narrow groups", "docs/specification/executor.md section 9, row groups", narrow_groups),
        Rewrite("groups of one result", "docs/specification/executor.md section 3, row QConv2d", groups_of_one_result),
        Rewrite(
            "a bias for each transposed convolution",
            "docs/specification/executor.md section 3, row QConvTranspose2d",
            transposed_with_bias,
        ),
        Rewrite("pools on their grid", "docs/specification/onnx_export.md section 5, row AvgPool", pools_on_their_grid),
        Rewrite("pools of the plane", "docs/specification/executor.md section 3, row QAvgPool2d", pools_of_the_plane),
        Rewrite(
            "left shifts in QCat", "docs/specification/onnx_export.md section 5, row QCat", operands_on_the_result_grid
        ),
        Rewrite(
            "products of three axes",
            "docs/specification/onnx_export.md sections 4.3 and 5, rows rank and Transpose",
            three_axes,
        ),
        Rewrite(
            "rows of linear layers", "docs/specification/executor.md section 3, row QLinear", rows_of_linear_layers
        ),
        Rewrite(
            "rows of layer norms", "docs/specification/executor.md section 3, row LayerNormInt", rows_of_layer_norms
        ),
        Rewrite("half up", "docs/specification/executor.md section 1", half_up_for_other_roundings),
        Rewrite(
            "functions of the last axis",
            "docs/specification/executor.md section 3, rows QSoftmax and GluInt",
            functions_of_the_last_axis,
        ),
        Rewrite(
            "tables for functions",
            "docs/specification/executor.md section 4, rows lut_by_linear and lut",
            tables_for_functions,
        ),
        Rewrite("saturation for Clip", "docs/specification/onnx_export.md section 4.1, row Clip", rectifiers_for_clips),
        Rewrite(
            "operands of one shape",
            "docs/specification/executor.md section 3, rows QAdd and QMul",
            operands_of_one_shape,
        ),
        Rewrite("constants in additions", "docs/specification/executor.md section 3, row QAdd", constants_in_additions),
        Rewrite(
            "Requants for left shifts",
            "docs/specification/executor.md section 2, row right shift",
            requants_for_left_shifts,
        ),
        Rewrite("a weight a node", "docs/specification/executor.md section 2, row weights", a_weight_a_node),
        Rewrite("an addend a node", "docs/specification/executor.md section 2, row addends", an_addend_a_node),
        Rewrite(
            "Reshapes for axes", "docs/specification/onnx_export.md section 1, row opset imports", reshapes_for_axes
        ),
        Rewrite("one Reshape", "docs/specification/onnx_export.md section 4.1, row Reshape", one_reshape),
        Rewrite("scratch memory", "docs/specification/executor.md section 8, reserve", scratch_memory),
        Rewrite("packer's names", "docs/specification/onnx_export.md section 4.1", rename),
        Rewrite("platform attributes", "docs/specification/onnx_export.md section 4.2", add_platform_attributes),
    ),
    one_sample=True,
    biases_as_evaluated=True,
    checked=True,
)
"""What the vendor's packer reads and its executor computes to the bit, where there is such a graph.

What has no accepted form is left as it is: the device lint names it.

Source: docs/specification/onnx_export.md sections 1, 4 and 5; docs/decisions.md D19.
"""
