"""The table of all checks, in the order in which findings of one node are listed."""

from linger_jax.export.lint.checks import (
    attributes,
    element_widths,
    executor,
    operators,
    placement,
    recurrent,
    scales,
    tensor_shapes,
    windows,
)
from linger_jax.export.lint.checks.check import Check

CHECKS: tuple[Check, ...] = (
    *operators.CHECKS,
    *attributes.CHECKS,
    *windows.CHECKS,
    *element_widths.CHECKS,
    *tensor_shapes.CHECKS,
    *scales.CHECKS,
    *executor.CHECKS,
    *recurrent.CHECKS,
    *placement.CHECKS,
)
