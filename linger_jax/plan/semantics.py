"""Where ``compat: chip`` and ``compat: reference`` part ways in planning and interpretation."""

from __future__ import annotations

import dataclasses

from linger_jax.config import Compat


@dataclasses.dataclass(frozen=True, kw_only=True)
class Semantics:
    """Named differences; rules read these and never the compat key itself.

    Attributes:
      pool_keeps_scale: average pooling answers at its input's scale instead of at one of its own statistic
        (docs/decisions.md D5).
      pool_calibrates_in_float: average pooling returns the float average in a calibration pass; the reference runs its
        integer path there, at the scale 1 that nothing has set yet (docs/decisions.md D7).
      sums_in_file_order: float sums off the grid (the mean of a weight clamp, BatchNorm statistics of a calibration
        pass) are added in the order of PyTorch's memory, so that their last bits are the reference's.
      operators_see_parts: an operator takes the bits of its owner's mixed-precision section (docs/codes.md O15).
      disabled_owners_are_float: operators inside a disabled module stay float instead of passing to the next owner.
      shared_layers_calibrate: a layer called twice in one calibration pass joins its statistics (docs/decisions.md D7).
      parts_must_match: a part whose name matches no module is an error (docs/decisions.md D11).
      patterns_are_literal: a ``*`` in ``disable_submodel`` is an ordinary character.
      pads_with_zero_only: padding with another number is float, since that number is not on every grid.
      warns_of_unseen_data: evaluation of quantizers that never saw data warns (docs/decisions.md D6).
      kernel_inputs_saturate: what enters a kernel is saturated to its input range; otherwise values beyond it wrap, or
        reach segments that answer 0 (docs/decisions.md D9, docs/codes.md K1 and K2).
      missing_kernels_are_float: a function that the platform has no kernel for is float and warned about; otherwise it
        is an error when it is reached (docs/decisions.md D8).
      fixed_scales_always_hold: an output of fixed scale, and the sigmoid inside a GLU, has it before any training too;
        otherwise evaluation uses the stored scale (docs/codes.md O6).
      sums_calibrate_unrounded: an addition is plain in every calibration pass; otherwise a pass in evaluation mode
        rounds its operands at the stored output scale (docs/codes.md O18).
      joins_any_number: any number of values is concatenated or stacked; otherwise two are concatenated, three are an
        error, and stacking is float (docs/codes.md O2).
      gelu_forms_are_one: gelu in its tanh form is quantized like the other; otherwise it is float (docs/decisions.md
        D21).
      divisions_multiply: division by a constant scalar is multiplication with its reciprocal; otherwise it is float.
      warns_of_clipped_constants: a constant operand that its own quantizer clips is warned about (docs/codes.md O19).
      warns_of_epsilon: a LayerNorm whose epsilon is not the chip's warns.
      update_gate_keeps_new: the venus GRU keeps (1 - z) of the state and z of the new value; otherwise it is
        h' = n + z (h - n), as in the float layer (docs/decisions.md D1, docs/codes.md R1).
      update_difference_passes_gradient: the saturated difference of the venus GRU passes gradients (docs/decisions.md
        D1, docs/codes.md R2).
      gru_gates_saturate: the gates of the venus GRU are saturated to 16 bits before the kernels (docs/decisions.md D1
        and D9, docs/codes.md R4 and K1).
      reset_before_product: the GRU of arcs and mars resets the hidden state before its matrix product
        (docs/decisions.md D2, docs/codes.md R3).
      hidden_quantizer_is_output: one quantizer a direction serves hidden state and output of LSTM and GRU, follows the
        statistic of the steps before, and both directions use the smaller scale; an initial state has no say in it.
        Otherwise the hidden scale stays what the first input's was, and the output declares the scale of a quantizer of
        its own (docs/decisions.md D3 and D4, docs/codes.md R6, R7, R8 and R16).
      gate_products_in_float: products with gates of 32 bits in the GRU are rounded to 53 bits before they are shifted
        (docs/specification/recurrent.md section 4).
      padded_output_is_float: LSTM and GRU with lengths return a plain array (docs/codes.md R12).
      calibration_mixes_directions: calibration of a bidirectional layer records the final states of both directions in
        the forward hidden quantizer, and all outputs in both output quantizers (docs/codes.md R10).
      folds_with_own_epsilon: a batch normalization is folded with its own epsilon, not with 1e-5
        (docs/specification/layers.md section 5.2).
      folds_output_channels: folding scales the output channels of a transposed convolution, not its input channels.
      evaluates_in_integers: evaluation forms sums and products of integers; otherwise in float32, as linger does, which
        loses what passes 24 bits (docs/decisions.md D27).
      weights_leave_room: the scale of a weight is lowered until the layer's largest bias fits its width on the grid of
        the products (docs/decisions.md D27).
      chooses_exponents: calibration follows ``calibrate_exponent``; otherwise it takes the nearest power of two
        (docs/decisions.md D25).
      tells_clamps: calibration and adoption tell which values clamps cut (docs/decisions.md D26).
      arithmetic_is_chosen: ``quant_info.arithmetic`` counts; otherwise it is linger's (docs/decisions.md D34).
      functions_are_tables: a function of one value of at most 8 bits that has no quantized form is a table of its
        results; otherwise it is float (docs/decisions.md D37).
      files_hold_evaluated_biases: an exported bias is what evaluation adds, not the float bias rounded anew.
      trains_windows_in_two: a window that is too large for one convolution of the chip can be trained where two compute
        it exactly (docs/specification/executor.md section 4).
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
    evaluates_in_integers: bool
    weights_leave_room: bool
    chooses_exponents: bool
    tells_clamps: bool
    arithmetic_is_chosen: bool
    functions_are_tables: bool
    files_hold_evaluated_biases: bool
    trains_windows_in_two: bool


CHIP = Semantics(
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
    evaluates_in_integers=True,
    weights_leave_room=True,
    chooses_exponents=True,
    tells_clamps=True,
    arithmetic_is_chosen=True,
    functions_are_tables=True,
    files_hold_evaluated_biases=True,
    trains_windows_in_two=True,
)
REFERENCE = Semantics(
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
    evaluates_in_integers=False,
    weights_leave_room=False,
    chooses_exponents=False,
    tells_clamps=False,
    arithmetic_is_chosen=False,
    functions_are_tables=False,
    files_hold_evaluated_biases=False,
    trains_windows_in_two=False,
)


def semantics(compat: Compat) -> Semantics:
    """The record of a ``compat`` value."""
    return CHIP if compat is Compat.chip else REFERENCE
