"""Where ``compat: chip`` and ``compat: reference`` part ways in planning and interpretation."""

from __future__ import annotations

import dataclasses

from linger_jax.config import Compat


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choices:
    """Named differences (docs/decisions.md); rules read these and never the compat key itself.

    Attributes:
      pool_keeps_scale: D5, average pooling answers at its input's scale instead of at one of its own statistic.
      pool_calibrates_in_float: D7, average pooling returns the float average in a calibration pass; the reference runs
        its integer path there, at the scale 1 that nothing has set yet.
      sums_in_file_order: float sums off the grid (the mean of a weight clamp, BatchNorm statistics of a calibration
        pass) are added in the order of PyTorch's memory, so that their last bits are the reference's.
      operators_see_parts: O15, an operator takes the bits of its owner's mixed-precision section.
      disabled_owners_are_float: operators inside a disabled module stay float instead of passing to the next owner.
      shared_layers_calibrate: D7, a layer called twice in one calibration pass joins its statistics.
      parts_must_match: D11, a part whose name matches no module is an error.
      patterns_are_literal: a ``*`` in ``disable_submodel`` is an ordinary character.
      pads_with_zero_only: padding with another number is float, since that number is not on every grid.
      warns_of_unseen_data: D6, evaluation of quantizers that never saw data warns.
      kernel_inputs_saturate: D9 (K1, K2), what enters a kernel is saturated to its input range; otherwise values beyond
        it wrap, or reach segments that answer 0.
      missing_kernels_are_float: D8, a function that the platform has no kernel for is float and warned about; otherwise
        it is an error when it is reached.
      fixed_scales_always_hold: O6, an output of fixed scale, and the sigmoid inside a GLU, has it before any training
        too; otherwise evaluation uses the stored scale.
      sums_calibrate_unrounded: O18, an addition is plain in every calibration pass; otherwise a pass in evaluation mode
        rounds its operands at the stored output scale.
      joins_any_number: O2, any number of values is concatenated or stacked; otherwise two are concatenated, three are
        an error, and stacking is float.
      gelu_forms_are_one: D21, gelu in its tanh form is quantized like the other; otherwise it is float.
      divisions_multiply: division by a constant scalar is multiplication with its reciprocal; otherwise it is float.
      warns_of_clipped_constants: O19, a constant operand that its own quantizer clips is warned about.
      warns_of_epsilon: a LayerNorm whose epsilon is not the chip's warns.
      update_gate_keeps_new: D1 (R1), the venus GRU keeps (1 - z) of the state and z of the new value; otherwise
        h' = n + z (h - n), as in the float layer.
      update_difference_passes_gradient: D1 (R2), the saturated difference of the venus GRU passes gradients.
      gru_gates_saturate: D1, D9 (R4, K1), the gates of the venus GRU are saturated to 16 bits before the kernels.
      reset_before_product: D2 (R3), the GRU of arcs and mars resets the hidden state before its matrix product.
      hidden_quantizer_is_output: D3 (R6, R7, R8), one quantizer a direction serves hidden state and output of LSTM and
        GRU, follows the statistic of the steps before, and both directions use the smaller scale; an initial state has
        no say in it (D4, R16). Otherwise the hidden scale stays what the first input's was, and the output declares
        the scale of a quantizer of its own.
      gate_products_in_float: products with gates of 32 bits in the GRU are rounded to 53 bits before they are shifted
        (docs/specification/recurrent.md section 4).
      padded_output_is_float: R12, LSTM and GRU with lengths return a plain array.
      calibration_mixes_directions: R10, calibration of a bidirectional layer records the final states of both
        directions in the forward hidden quantizer, and all outputs in both output quantizers.
      folds_with_own_epsilon: a batch normalization is folded with its own epsilon, not with 1e-5
        (docs/specification/layers.md section 5.2).
      folds_output_channels: folding scales the output channels of a transposed convolution, not its input channels.
      files_hold_evaluated_biases: an exported bias is what evaluation adds, not the float bias rounded anew.
    """

    pool_keeps_scale: bool
    pool_calibrates_in_float: bool
    sums_in_file_order: bool
    operators_see_parts: bool
    disabled_owners_are_float: bool
    shared_layers_calibrate: bool
    parts_must_match: bool
    patterns_are_literal: bool
    pads_with_zero_only: bool
    warns_of_unseen_data: bool
    kernel_inputs_saturate: bool
    missing_kernels_are_float: bool
    fixed_scales_always_hold: bool
    sums_calibrate_unrounded: bool
    joins_any_number: bool
    gelu_forms_are_one: bool
    divisions_multiply: bool
    warns_of_clipped_constants: bool
    warns_of_epsilon: bool
    update_gate_keeps_new: bool
    update_difference_passes_gradient: bool
    gru_gates_saturate: bool
    reset_before_product: bool
    hidden_quantizer_is_output: bool
    gate_products_in_float: bool
    padded_output_is_float: bool
    calibration_mixes_directions: bool
    folds_with_own_epsilon: bool
    folds_output_channels: bool
    files_hold_evaluated_biases: bool


CHIP = Choices(
    pool_keeps_scale=True,
    pool_calibrates_in_float=True,
    sums_in_file_order=False,
    operators_see_parts=True,
    disabled_owners_are_float=True,
    shared_layers_calibrate=True,
    parts_must_match=True,
    patterns_are_literal=False,
    pads_with_zero_only=True,
    warns_of_unseen_data=True,
    kernel_inputs_saturate=True,
    missing_kernels_are_float=True,
    fixed_scales_always_hold=True,
    sums_calibrate_unrounded=True,
    joins_any_number=True,
    gelu_forms_are_one=True,
    divisions_multiply=True,
    warns_of_clipped_constants=True,
    warns_of_epsilon=True,
    update_gate_keeps_new=False,
    update_difference_passes_gradient=True,
    gru_gates_saturate=True,
    reset_before_product=False,
    hidden_quantizer_is_output=True,
    gate_products_in_float=False,
    padded_output_is_float=False,
    calibration_mixes_directions=False,
    folds_with_own_epsilon=True,
    folds_output_channels=True,
    files_hold_evaluated_biases=True,
)
REFERENCE = Choices(
    pool_keeps_scale=False,
    pool_calibrates_in_float=False,
    sums_in_file_order=True,
    operators_see_parts=False,
    disabled_owners_are_float=False,
    shared_layers_calibrate=False,
    parts_must_match=False,
    patterns_are_literal=True,
    pads_with_zero_only=False,
    warns_of_unseen_data=False,
    kernel_inputs_saturate=False,
    missing_kernels_are_float=False,
    fixed_scales_always_hold=False,
    sums_calibrate_unrounded=False,
    joins_any_number=False,
    gelu_forms_are_one=False,
    divisions_multiply=False,
    warns_of_clipped_constants=False,
    warns_of_epsilon=False,
    update_gate_keeps_new=True,
    update_difference_passes_gradient=False,
    gru_gates_saturate=False,
    reset_before_product=True,
    hidden_quantizer_is_output=False,
    gate_products_in_float=True,
    padded_output_is_float=True,
    calibration_mixes_directions=True,
    folds_with_own_epsilon=False,
    folds_output_channels=False,
    files_hold_evaluated_biases=False,
)


def choices(compat: Compat) -> Choices:
    """The record of a ``compat`` value."""
    return CHIP if compat is Compat.chip else REFERENCE
