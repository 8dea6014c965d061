"""Says where tensors must lie for the executor to be right (docs/specification/onnx_export.md section 5)."""

from __future__ import annotations

import math
from collections.abc import Iterator

from linger_jax.export.lint.checks.check import Check
from linger_jax.export.lint.checks.element_widths import WIDTH
from linger_jax.export.lint.finding import Problem, differs, notes
from linger_jax.export.lint.memory_plan import stays_in_share_memory
from linger_jax.export.lint.node_view import NodeView, Tensor
from linger_jax.export.lint.pack_options import PackOptions
from linger_jax.export.lint.program import Program
from linger_jax.kinds import onnx_operators as ops

_OF_ROWS = {ops.QLINEAR, ops.QCONV2D}
"""Linear layers of rows, and what is written for them: rows are the points of a plane."""
_REMEDY = "Give the packer the option"


def rows(view: NodeView) -> int:
    """Rows that a linear layer works on, as such or as points; 1 where the shape is not known."""
    shape = view.shape()
    return 1 if shape is None else math.prod(shape[:-1] if view.operator is ops.QLINEAR else shape[2:])


def _linear_rows(view: NodeView, program: Program) -> Iterator[Problem]:
    """The executor transposes the result in place in share memory, and corrupts it.

    The result in PSRAM is enough, unless a Relu reads it: then only everything in PSRAM was measured equal.
    """
    count, result = rows(view), view.outputs[0]
    if count < 2:
        return
    if view.integer("o_bits", WIDTH) != WIDTH:
        yield differs(
            f"{count} rows of {view.integer('o_bits')} bits",
            f"1 row, or {WIDTH} bits: the executor writes behind its scratch memory",
            f"Set activate_bits: {WIDTH}",
        )
        return
    rectified = [s for s in program.readers.get(result.name, ()) if s.operator is ops.RELU]
    options = PackOptions(psram=(result.name,))
    if rectified and not any(stays_in_share_memory(program)):
        options = PackOptions(threshold4=0)
    elif rectified:
        data = view.input(0)
        around = (data.name,) if data is not None else ()
        options = PackOptions(psram=(*around, result.name, *(s.outputs[0].name for s in rectified)))
    yield notes(f"{count} rows with the result in share memory", "1 row, or the result in PSRAM", _REMEDY, options)


def _attention_on_input(view: NodeView, program: Program) -> Iterator[Problem]:
    """No placement makes attention right whose linear layers read the graph input itself."""
    scores = _made_by(view.input(0), program)
    if scores is None or scores.operator not in ops.PRODUCTS:
        return
    products = [s for s in program.readers.get(view.outputs[0].name, ()) if s.operator in ops.PRODUCTS]
    for product in (scores, *products):
        for tensor in product.inputs:
            linear = _made_by(tensor, program)
            if linear is None or linear.operator not in _OF_ROWS or rows(linear) < 2:
                continue
            source = _made_by(linear.input(0), program)
            if source is not None and source.operator is not ops.QUANT:
                continue
            yield differs(
                f"attention whose {linear.node.name} reads the graph input",
                "attention behind another layer: no placement of tensors makes this one right",
                "Put a layer in front of the attention, or choose platform arcs",
            )
            return


def _made_by(tensor: Tensor | None, program: Program) -> NodeView | None:
    """The node that computes a tensor, looking through those that move it about."""
    while tensor is not None:
        maker = program.maker(tensor)
        if maker is None or maker.operator is None or not maker.operator.passes_grid:
            return maker
        tensor = maker.input(0)
    return None


CHECKS = (
    Check("linear rows", _linear_rows, {ops.QLINEAR}, lambda executor: executor.linear_rows_are_corrupted),
    Check("attention", _attention_on_input, {ops.QSOFTMAX}, lambda executor: executor.attention_on_input_differs),
)
