"""Checks LayerNorms in the executor's arithmetic (docs/specification/executor.md sections 3 and 3.3)."""

from __future__ import annotations

import math
from collections.abc import Iterator

from linger_jax.export.lint.checks.check import Check
from linger_jax.export.lint.checks.element_widths import WIDTH, all_of_one_width
from linger_jax.export.lint.finding import Problem, differs
from linger_jax.export.lint.node_view import NodeView
from linger_jax.export.lint.program import Program
from linger_jax.kinds import TRAIN_EXECUTOR_ROWS, USE_THINKER
from linger_jax.kinds import onnx_operators as ops
from linger_jax.numerics.normalization import EPSILON, EXECUTOR_ROWS

ROWS_OF_LAYER_NORMS = "rows_of_layer_norms"


def _unmeasured(view: NodeView, program: Program) -> Iterator[Problem]:
    yield differs(
        view.node.op,
        f"the executor of {program.platform} computes integers that are not known",
        "Keep the layer off the chip, or use BatchNorm in its place",
    )


def _rows(view: NodeView, program: Program) -> Iterator[Problem]:
    del program
    weight = view.shape(1)
    one = view.number("scale_y_normal")
    if one is not None and one != EXECUTOR_ROWS.one:
        yield differs(f"rows that were trained with 1 at {one:g} steps", f"{EXECUTOR_ROWS.one:g}", TRAIN_EXECUTOR_ROWS)
    if weight is not None and len(weight) != 1:
        yield differs(f"rows over {len(weight)} axes", "one axis", USE_THINKER, ROWS_OF_LAYER_NORMS)
    yield from all_of_one_width(view)


def _sums(view: NodeView, program: Program) -> Iterator[Problem]:
    del program
    shape, scale = view.shape(), view.number("scale_x")
    if not shape or scale is None:
        return
    largest = shape[-1] ** 2 * (4.0 ** (WIDTH - 1) + EPSILON * scale**2)
    if largest >= 2**EXECUTOR_ROWS.radicand_bits:
        most = math.isqrt(int(shape[-1] ** 2 / largest * 2**EXECUTOR_ROWS.radicand_bits))
        yield differs(
            f"rows of {shape[-1]} values",
            f"up to {most} at scale {scale:g}: a sum of squares beyond 32 bits is nonsense",
            "Normalize fewer values",
        )


CHECKS_OF_SCALES = (Check("sums of rows", _sums, {ops.LAYER_NORM_INT}, lambda executor: executor.normalizes_rows),)
CHECKS = (
    Check("layer norm", _unmeasured, {ops.LAYER_NORM_INT}, lambda executor: not executor.normalizes_rows),
    Check("rows", _rows, {ops.LAYER_NORM_INT}, lambda executor: executor.normalizes_rows),
    *CHECKS_OF_SCALES,
)
