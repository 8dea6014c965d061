"""Refuses operators that the packer does not know (docs/specification/onnx_export.md section 4.1)."""

from __future__ import annotations

from collections.abc import Iterator

from linger_jax.export.lint.checks.check import Check
from linger_jax.export.lint.finding import Problem, differs, refuses
from linger_jax.export.lint.node_view import NodeView
from linger_jax.export.lint.program import Program
from linger_jax.kinds import PACKER_TAKES, UNKNOWN
from linger_jax.kinds import onnx_operators as ops


def _known(view: NodeView, program: Program) -> Iterator[Problem]:
    if view.written in PACKER_TAKES or view.written in program.device.own_operators:
        return
    refusal = UNKNOWN if view.operator is None else view.operator.packing.refusal
    assert refusal is not None
    yield refuses(view.node.op, refusal.why, refusal.remedy, refusal.edit)


def _float_function(view: NodeView, program: Program) -> Iterator[Problem]:
    del program
    if view.node.op == view.written:
        yield differs(
            f"{view.written} of floats",
            "quantized forms; float ones pack, and are not measured",
            "Quantize it: name no part of it in disable_module or disable_submodel",
        )


def _one_input(view: NodeView, program: Program) -> Iterator[Problem]:
    del program
    given = [t for t in view.inputs if t is not None]
    if len(given) > 1:
        yield refuses(
            f"{len(given)} inputs: axes as an input, the form of opset 13 and later",
            "axes as an attribute",
            "Export with opset=12, or with dialect='thinker'",
            "axes_as_attributes",
        )


CHECKS = (
    Check("operator", _known),
    Check("float function", _float_function, {ops.SIGMOID, ops.TANH}),
    Check("axes form", _one_input, {*ops.SQUEEZES, ops.UNSQUEEZE}),
)
