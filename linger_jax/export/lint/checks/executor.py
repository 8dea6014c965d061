"""Finds operators that pack and that the executor computes otherwise, or never ends.

Source: docs/specification/onnx_export.md section 5, docs/specification/executor.md section 3.
"""

from __future__ import annotations

from collections.abc import Iterator

from linger_jax.export.lint.checks.check import Check, measured
from linger_jax.export.lint.finding import Problem, differs, notes
from linger_jax.export.lint.node_view import NodeView
from linger_jax.export.lint.pack_options import PackOptions
from linger_jax.export.lint.program import Program
from linger_jax.kinds import AS_2D, AS_TABLE, USE_THINKER, WRITES_TABLE, Role
from linger_jax.kinds import onnx_operators as ops

SOFTMAX_AXIS = "softmax_axis_minus_one"
LAST_AXIS = "function_of_last_axis"
FINER_CONSTANT = "constant_finer_than_sum"
WEIGHT_A_NODE = "a_weight_a_node"
ADDEND_A_NODE = "an_addend_a_node"
NON_NEGATIVE_DIM = "glu_dim_non_negative"

_AXIS_IS_READ_UP_TO = 2
"""Axes of a softmax's operand up to which its axis may be counted from the front."""


def _convolution_1d(view: NodeView, program: Program) -> Iterator[Problem]:
    yield differs(
        view.node.op,
        f"the executor of {program.platform} computes other values",
        f"{USE_THINKER}: it writes a 2-D convolution of height 1",
        AS_2D,
    )


def _sigmoid(view: NodeView, program: Program) -> Iterator[Problem]:
    if program.device.functions[ops.QSIGMOID.name] is None:
        yield differs(view.node.op, f"every result of the executor of {program.platform} is 64", WRITES_TABLE, AS_TABLE)


def _transpose(view: NodeView, program: Program) -> Iterator[Problem]:
    shape = view.shape()
    if shape is not None and len(shape) == 4:
        yield differs(
            f"a 4-D transpose ({'x'.join(map(str, shape))})",
            f"3-D: the executor of {program.platform} crashes",
            "Merge axes before the transpose, or choose platform arcs",
        )


def _shared_weight(view: NodeView, program: Program) -> Iterator[Problem]:
    assert view.operator is not None
    place = view.operator.inputs.index(Role.weight)
    weight, biases = view.input(place), view.node.inputs[place + 1 :]
    if weight is None or weight.constant is None:
        return
    before = [r for r in program.readers[weight.name] if r.operator in ops.WITH_BIAS and r.index < view.index]
    if any(r.node.inputs[place + 1 :] != biases for r in before):
        yield differs(
            f"weight {weight.name}, which {before[0].node.name} reads with another bias",
            "a weight for each node: one is laid out for the bias of one reader",
            USE_THINKER,
            WEIGHT_A_NODE,
        )


def _shared_addend(view: NodeView, program: Program) -> Iterator[Problem]:
    for tensor in view.inputs:
        if tensor is None or tensor.constant is None:
            continue
        before = [r for r in program.readers[tensor.name] if r.operator is ops.QADD and r.index < view.index]
        if before:
            yield differs(
                f"constant {tensor.name}, which {before[0].node.name} adds too",
                "a constant for each addition: it is lost behind the second",
                USE_THINKER,
                ADDEND_A_NODE,
            )


def _gated_linear_unit(view: NodeView, program: Program) -> Iterator[Problem]:
    dim, data = view.integer("dim", -1), view.input(0)
    if program.device.executor.glu_differs:
        yield differs(
            view.node.op,
            f"the executor of {program.platform} computes other values",
            "Choose platform venusA, or sigmoid and mul",
        )
        return
    if dim is not None and dim < 0:
        yield differs(f"dim {dim}", "0 or more: a negative one is misread", USE_THINKER, NON_NEGATIVE_DIM)
    if data is not None:
        yield notes(
            f"input {data.name} in share memory",
            "activations in PSRAM",
            "Give the packer the option",
            PackOptions(psram=(data.name,)),
        )


def _last_axis(view: NodeView, program: Program) -> Iterator[Problem]:
    shape, name = view.shape(), "axis" if view.has("axis") else "dim"
    axis = view.integer(name, -1)
    if shape is None or axis is None:
        return
    misread = program.device.executor.softmax_axis_is_misread and view.operator is ops.QSOFTMAX
    if axis % len(shape) != len(shape) - 1:
        yield differs(
            f"{name} {axis} of {len(shape)} axes",
            "the last axis",
            f"{USE_THINKER}: it transposes in front of the function and behind it",
            LAST_AXIS,
        )
    elif misread and axis >= 0 and len(shape) > _AXIS_IS_READ_UP_TO:
        yield differs(f"{name} {axis}", f"{name} -1: {axis} is misread", USE_THINKER, SOFTMAX_AXIS)


def _addition(view: NodeView, program: Program) -> Iterator[Problem]:
    x, y, o = (view.number(name) for name in ("scale_x", "scale_y", "scale_o"))
    if x is None or y is None or o is None:
        return
    if min(x, y) < o:
        yield differs(
            f"scale_x {x:g}, scale_y {y:g}, scale_o {o:g}",
            "operands at least as fine as the result: the executor cannot shift left",
            "Export the file anew: training keeps the result's scale as low as its operands'",
        )
    constant = any(tensor is not None and tensor.constant is not None for tensor in view.inputs)
    if x == y == o and constant and program.device.executor.addition_of_constant_hangs:
        yield differs(
            f"a constant operand at the scale of everything else, {o:g}",
            "a constant at twice the scale: the executor never returns",
            USE_THINKER,
            FINER_CONSTANT,
        )


CHECKS_OF_SCALES = (Check("addition", _addition, {ops.QADD}, measured),)
CHECKS = (
    Check("conv1d", _convolution_1d, {ops.QCONV1D}, lambda executor: executor.conv1d_differs),
    Check("sigmoid", _sigmoid, {ops.QSIGMOID}, measured),
    Check("transpose", _transpose, {ops.TRANSPOSE}, lambda executor: executor.transpose_of_four_axes_crashes),
    Check("shared weight", _shared_weight, ops.WITH_BIAS, measured),
    Check("shared addend", _shared_addend, {ops.QADD}, measured),
    Check("function axis", _last_axis, ops.ALONG_LAST_AXIS, measured),
    *CHECKS_OF_SCALES,
    Check("gated linear unit", _gated_linear_unit, {ops.QGLU}, measured),
)
