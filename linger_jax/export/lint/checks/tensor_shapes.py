"""Checks ranks, batches and lengths (docs/specification/onnx_export.md section 4.3)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from linger_jax.export.lint.checks.check import Check
from linger_jax.export.lint.finding import Problem, differs, refuses
from linger_jax.export.lint.node_view import NodeView
from linger_jax.export.lint.program import Program
from linger_jax.kinds import ONNX_OPERATORS, Role
from linger_jax.kinds import onnx_operators as ops


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
    if one is None or other is None:
        return
    pairs = itertools.zip_longest(reversed(one), reversed(other), fillvalue=1)
    stretched = sum(a != b for a, b in pairs)
    if stretched > 1:
        yield refuses(
            f"{stretched} axes are broadcast", "1", "Repeat the smaller operand in the model, or add in two steps"
        )


def _softmax_length(view: NodeView, program: Program) -> Iterator[Problem]:
    shape, axis = view.shape(), view.integer("axis", view.integer("dim", -1))
    most = program.device.softmax_length
    if shape and axis is not None and -len(shape) <= axis < len(shape) and shape[axis] > most:
        yield refuses(f"an axis of {shape[axis]}", f"up to {most}", "Take the softmax over fewer values")


CHECKS = (
    Check("rank", _rank, {operator for operator in ONNX_OPERATORS if operator.ranks}),
    Check("batch", _batch, {operator for operator in ONNX_OPERATORS if operator.first_sample_only}),
    Check("broadcast", _broadcast, {ops.QADD}),
    Check("softmax length", _softmax_length, {ops.QSOFTMAX}),
)
