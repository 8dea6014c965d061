"""Checks look-ups of computed indices, and what makes the indices.

Source: docs/specification/executor.md sections 3 and 4.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from linger_jax.export.lint.checks.check import Check
from linger_jax.export.lint.checks.element_widths import WIDTH
from linger_jax.export.lint.finding import Problem, differs
from linger_jax.export.lint.node_view import NodeView
from linger_jax.export.lint.program import Program
from linger_jax.kinds import AS_TABLE, USE_THINKER
from linger_jax.kinds import onnx_operators as ops
from linger_jax.targets import FARTHEST_LEFT_SHIFT


def _index(view: NodeView, program: Program) -> Iterator[Problem]:
    index, form = view.input(1), program.device.look_up
    if index is None or not index.quantized:
        return
    if index.bits is not None and index.bits <= WIDTH:
        yield differs(
            f"an index of {index.bits} bits",
            "32 bits: the executor stops",
            f"{USE_THINKER}: it computes an index of 32 bits",
            AS_TABLE,
        )
    if form is not None and index.shape is not None and math.prod(index.shape) > form.elements:
        yield differs(
            f"a look-up of {math.prod(index.shape)} elements",
            f"up to {form.elements}: others are not measured, or wrong",
            f"{USE_THINKER}: it looks them up in parts",
            AS_TABLE,
        )


def _regridded(view: NodeView, program: Program) -> Iterator[Problem]:
    del program
    source, bits = view.input(0), view.integer("o_bits", WIDTH)
    x, o = view.number("scale_x"), view.number("scale_o")
    if source is not None and source.bits is not None and source.bits > WIDTH:
        yield differs(
            f"a {source.bits}-bit input",
            f"{WIDTH} bits: the executor stops",
            "Give it integers of 8 bits",
        )
    if bits is None or x is None or o is None:
        return
    if bits <= WIDTH:
        if o > x * FARTHEST_LEFT_SHIFT:
            yield differs(
                f"scale_x {x:g}, scale_o {o:g}",
                f"scale_o up to {FARTHEST_LEFT_SHIFT} times scale_x: the executor shifts no farther",
                "Go there in two steps",
            )
        return
    if not x <= o <= x * 2 ** (bits - WIDTH):
        yield differs(
            f"scale_x {x:g}, scale_o {o:g}",
            f"a scale_o of {x:g} to {x * 2 ** (bits - WIDTH):g}: the executor only shifts left, and wraps",
            "Widen to a scale between them",
        )


CHECKS_OF_SCALES = (Check("other grid", _regridded, {ops.REQUANT}),)
CHECKS = (
    Check("look-up", _index, {ops.TABLE_GATHER, ops.GATHER}),
    *CHECKS_OF_SCALES,
)
