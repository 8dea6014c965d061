"""Where ``compat: chip`` and ``compat: reference`` part ways in planning and interpretation."""

from __future__ import annotations

import dataclasses

from linger_jax.config import Compat


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choices:
    """Named differences (spec/decisions.md); rules read these and never the compat key itself.

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
)


def choices(compat: Compat) -> Choices:
    """The record of a ``compat`` value."""
    return CHIP if compat is Compat.chip else REFERENCE
