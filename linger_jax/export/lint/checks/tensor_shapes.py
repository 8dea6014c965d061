"""Checks ranks, batches and lengths (docs/specification/onnx_export.md section 4.3)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from linger_jax.export.lint.checks.check import Check
from linger_jax.export.lint.finding import Problem, differs, refuses
from linger_jax.export.lint.node_view import NodeView
from linger_jax.export.lint.program import Program
from linger_jax.kinds import ONNX_OPERATORS, USE_THINKER, Role
from linger_jax.kinds import onnx_operators as ops

ONE_SHAPE = "operands_of_one_shape"
ONE_AXIS = "one_axis_a_slice"
IMAGE = 4
"""Axes of one."""


def _rank(view: NodeView, program: Program) -> Iterator[Problem]:
    del program
    assert view.operator is not None
    allowed = view.operator.ranks
    for position in view.operator.positions(Role.data, len(view.inputs)):
        tensor = view.inputs[position]
        if tensor is not None and tensor.shape is not None and len(tensor.shape) not in allowed:
            yield refuses(
                f"a {len(tensor.shape)}-D input ({tensor.text})",
                " or ".join(f"{rank}-D" for rank in allowed),
                "Reshape in the model: merge or split axes before the layer",
            )


def _batch(view: NodeView, program: Program) -> Iterator[Problem]:
    del program
    shape = view.shape()
    if shape is not None and shape and shape[0] != 1:
        yield differs(
            f"a batch of {shape[0]}",
            "1: the executor computes the first sample only",
            "Export with an example of one sample",
        )


def _broadcast(view: NodeView, program: Program) -> Iterator[Problem]:
    del program
    one, other = view.shape(0), view.shape(1)
    if one is None or other is None or one == other or (view.operator is ops.QMUL and _is_repeated(view)):
        return
    pairs = itertools.zip_longest(reversed(one), reversed(other), fillvalue=1)
    stops = view.operator is ops.QADD and sum(a != b for a, b in pairs) > 1
    yield (refuses if stops else differs)(
        f"operands {' and '.join('x'.join(map(str, s)) or 'scalar' for s in (one, other))}",
        "two of one shape: executors repeat no smaller operand",
        USE_THINKER,
        ONE_SHAPE,
    )


def _is_repeated(view: NodeView) -> bool:
    """Whether executors repeat an operand of a product: a constant number, or one number a channel of an image."""
    for tensor, other in (view.inputs[:2], view.inputs[1::-1]):
        if tensor is None or other is None or tensor.shape is None or other.shape is None:
            continue
        per_channel = len(other.shape) == IMAGE and tensor.shape == (1, other.shape[1], 1, 1)
        if per_channel or (tensor.constant is not None and tensor.shape == ()):
            return True
    return False


def _slice(view: NodeView, program: Program) -> Iterator[Problem]:
    del program
    axes, steps = (
        None if t is None or t.constant is None else t.constant.tolist() for t in (view.input(3), view.input(4))
    )
    if axes is not None and len(axes) > 1:
        yield differs(
            f"a slice of {len(axes)} axes", "one axis: the packer reads the first alone", USE_THINKER, ONE_AXIS
        )
    if steps is not None and any(step != 1 for step in steps):
        yield differs(f"a slice with steps {steps}", "1: the executor reads no step", USE_THINKER, ONE_AXIS)


def _index(view: NodeView, program: Program) -> Iterator[Problem]:
    del program
    shape, index = view.shape(), view.input(1)
    if shape is None or index is None or index.constant is None or not index.constant.size:
        return
    length, least = shape[view.integer("axis", 0) or 0], int(index.constant.min())
    if least < -1 or int(index.constant.max()) >= length:
        yield differs(
            f"indices {least} to {int(index.constant.max())} of {length}",
            f"-1 to {length - 1}: others read foreign memory",
            "Count from the front",
        )


def _softmax_length(view: NodeView, program: Program) -> Iterator[Problem]:
    shape, axis = view.shape(), view.integer("axis", view.integer("dim", -1))
    most = program.device.softmax_length
    if shape and axis is not None and -len(shape) <= axis < len(shape) and shape[axis] > most:
        yield refuses(f"an axis of {shape[axis]}", f"up to {most}", "Take the softmax over fewer values")


CHECKS = (
    Check("rank", _rank, {operator for operator in ONNX_OPERATORS if operator.ranks}),
    Check("batch", _batch, {operator for operator in ONNX_OPERATORS if operator.first_sample_only}),
    Check("broadcast", _broadcast, ops.OF_ONE_SHAPE),
    Check("slice", _slice, {ops.SLICE}),
    Check("index", _index, {ops.GATHER}),
    Check("softmax length", _softmax_length, {ops.QSOFTMAX}),
)
