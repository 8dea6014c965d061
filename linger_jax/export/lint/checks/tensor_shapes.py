"""Checks ranks, batches and lengths (docs/specification/onnx_export.md section 4.3)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from linger_jax.export.lint.checks.check import Check
from linger_jax.export.lint.finding import Problem, Severity
from linger_jax.export.lint.node_view import NodeView
from linger_jax.export.lint.program import Program
from linger_jax.kinds import CONVOLUTIONS, TRANSPOSED

RANKS: Mapping[str, tuple[int, ...]] = {
    "QConv2d": (4,),
    "QConvTranspose2d": (4,),
    "QAvgPool2d": (4,),
    "MaxPool": (4,),
    "QBatchNorm2d": (4,),
    "QConv1d": (3,),
    "QLSTM": (3,),
    "QGRU": (3,),
    "QBmm": (2, 3),
    "QMatmul": (2, 3),
}
BATCHED = CONVOLUTIONS | TRANSPOSED | {"QAvgPool1d", "QAvgPool2d", "MaxPool", "QBatchNorm1d", "QBatchNorm2d"}


def _rank(view: NodeView, program: Program) -> Iterator[Problem]:
    del program
    allowed = RANKS[view.kind]
    for tensor in view.inputs[: 2 if view.kind in ("QBmm", "QMatmul") else 1]:
        if tensor is not None and tensor.shape is not None and len(tensor.shape) not in allowed:
            yield Problem(
                severity=Severity.refuse,
                found=f"a {len(tensor.shape)}-D input ({tensor.text})",
                limit=" or ".join(f"{rank}-D" for rank in allowed),
                remedy="Reshape in the model: merge or split axes before the layer",
            )


def _batch(view: NodeView, program: Program) -> Iterator[Problem]:
    del program
    shape = view.shape()
    if shape is not None and shape and shape[0] != 1:
        yield Problem(
            severity=Severity.differs,
            found=f"a batch of {shape[0]}",
            limit="1: the executor computes the first sample only",
            remedy="Export with an example of one sample",
        )


def _broadcast(view: NodeView, program: Program) -> Iterator[Problem]:
    del program
    one, other = view.shape(0), view.shape(1)
    if one is None or other is None:
        return
    pairs = itertools.zip_longest(reversed(one), reversed(other), fillvalue=1)
    stretched = sum(a != b for a, b in pairs)
    if stretched > 1:
        yield Problem(
            severity=Severity.refuse,
            found=f"{stretched} axes are broadcast",
            limit="1",
            remedy="Repeat the smaller operand in the model, or add in two steps",
        )


def _softmax_length(view: NodeView, program: Program) -> Iterator[Problem]:
    shape, axis = view.shape(), view.integer("axis", view.integer("dim", -1))
    most = program.device.softmax_length
    if shape and axis is not None and -len(shape) <= axis < len(shape) and shape[axis] > most:
        yield Problem(
            severity=Severity.refuse,
            found=f"an axis of {shape[axis]}",
            limit=f"up to {most}",
            remedy="Take the softmax over fewer values",
        )


CHECKS = (
    Check("rank", _rank, RANKS),
    Check("batch", _batch, BATCHED),
    Check("broadcast", _broadcast, {"QAdd"}),
    Check("softmax length", _softmax_length, {"QSoftmax"}),
)
