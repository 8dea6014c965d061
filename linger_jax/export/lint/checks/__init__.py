"""The table of all checks, in the order in which findings of one node are listed."""

from linger_jax.export.lint.checks import (
    attributes,
    element_widths,
    executor,
    known_operators,
    look_ups,
    normalized_rows,
    placement,
    recurrent_nodes,
    row_cuts,
    tensor_scales,
    tensor_shapes,
    window_sizes,
)
from linger_jax.export.lint.checks import file_checks as file_checks
from linger_jax.export.lint.checks.check import Check

CHECKS: tuple[Check, ...] = (
    *known_operators.CHECKS,
    *attributes.CHECKS,
    *window_sizes.CHECKS,
    *row_cuts.CHECKS,
    *element_widths.CHECKS,
    *tensor_shapes.CHECKS,
    *tensor_scales.CHECKS,
    *executor.CHECKS,
    *look_ups.CHECKS,
    *normalized_rows.CHECKS,
    *recurrent_nodes.CHECKS,
    *placement.CHECKS,
)

CHECKS_OF_SCALES = frozenset(
    check.name
    for check in (
        *tensor_scales.CHECKS,
        *(
            check
            for module in (element_widths, executor, look_ups, normalized_rows)
            for check in module.CHECKS_OF_SCALES
        ),
    )
)
"""Names of those whose findings hang on scales, which calibration and training move."""
