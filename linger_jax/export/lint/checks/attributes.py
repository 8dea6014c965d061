"""Checks that the packer finds the attributes that it needs (docs/specification/onnx_export.md sections 1 and 4.2)."""

from __future__ import annotations

from collections.abc import Iterator

from linger_jax.config import Platform, RoundMode
from linger_jax.export.lint.checks.check import MEASURED, Check
from linger_jax.export.lint.finding import Problem, Severity
from linger_jax.export.lint.node_view import NodeView
from linger_jax.export.lint.program import Program
from linger_jax.kinds import CONVOLUTIONS, TRANSPOSED

ROUNDING = CONVOLUTIONS | TRANSPOSED | {"QLinear", "QLSTM"}
PLATFORM_QUANT = "add_platform_quant_luna_quant"


def _rounding(view: NodeView, program: Program) -> Iterator[Problem]:
    del program
    stated = view.node.attributes.get("quant_mode")
    if stated not in list(RoundMode):
        yield Problem(
            severity=Severity.refuse,
            found=f"quant_mode {stated!r}" if stated is not None else "no quant_mode",
            limit=f"one of {', '.join(RoundMode)}",
            remedy="Export the file anew, or add the attribute quant_mode='floor_add'",
        )


def _platform_quant(view: NodeView, program: Program) -> Iterator[Problem]:
    if program.device.needs_platform_quant and not view.has("platform_quant"):
        yield Problem(
            severity=Severity.refuse,
            found="no platform_quant",
            limit="platform_quant='luna_quant'",
            remedy="Choose platform arcs, or export for venus with dialect='thinker'",
            edit=PLATFORM_QUANT if program.platform is Platform.venus else "",
        )


def _softmax_dim(view: NodeView, program: Program) -> Iterator[Problem]:
    if program.device.needs_platform_quant and not view.has("dim"):
        yield Problem(
            severity=Severity.refuse,
            found="axis only",
            limit="the attribute dim beside axis",
            remedy="Choose platform arcs, or export for venus with dialect='thinker'",
            edit="softmax_dim_attribute" if program.platform is Platform.venus else "",
        )


def _backend(view: NodeView, program: Program) -> Iterator[Problem]:
    yield Problem(
        severity=Severity.refuse,
        found=view.node.op,
        limit=f"the packer has no implementation of it for {program.platform.value}",
        remedy="Choose platform arcs, whose chip is supported best",
    )


CHECKS = (
    Check("quant_mode", _rounding, ROUNDING, MEASURED),
    Check("platform_quant", _platform_quant, ROUNDING),
    Check("softmax dim", _softmax_dim, {"QSoftmax"}),
    Check("backend", _backend, {*CONVOLUTIONS, "QSoftmax"}, {Platform.mars}),
)
