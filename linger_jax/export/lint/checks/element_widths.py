"""Checks the widths of activations, weights and outputs (docs/specification/onnx_export.md section 4.3)."""

from __future__ import annotations

from collections.abc import Iterator

from linger_jax.export.lint.checks.check import Check, measured
from linger_jax.export.lint.finding import Problem, Severity
from linger_jax.export.lint.node_view import NodeView
from linger_jax.export.lint.program import Program
from linger_jax.kinds import CONVOLUTIONS, TRANSPOSED

WIDTH = 8
"""Bits of activations and weights on every chip."""
TANH_WIDTH = 16
WEIGHTED = CONVOLUTIONS | TRANSPOSED | {"QLinear"}
PARAMETRIC = WEIGHTED | {"QBatchNorm1d", "QBatchNorm2d", "QLSTM", "QGRU", "QLayerNorm", "Gather"}


def _activations(view: NodeView, program: Program) -> Iterator[Problem]:
    del program
    bits = view.integer("x_bits", WIDTH)
    if bits != WIDTH:
        yield Problem(
            severity=Severity.refuse,
            found=f"{bits}-bit input",
            limit=f"{WIDTH} bits",
            remedy=f"Set activate_bits: {WIDTH}",
        )


def _weights(view: NodeView, program: Program) -> Iterator[Problem]:
    bits = view.integer("w_bits", WIDTH)
    if bits == WIDTH or bits is None:
        return
    stored = view.input(0 if view.kind == "Gather" else 1)
    values = stored.constant if stored is not None else None
    inside = values is None or not values.size or -(2 ** (bits - 1)) <= values.min() <= values.max() < 2 ** (bits - 1)
    packs = (bits < WIDTH and inside) or (view.kind == "QLinear" and bits in program.device.linear_weight_bits)
    yield Problem(
        severity=Severity.differs if packs else Severity.refuse,
        found=f"{bits}-bit weights",
        limit=f"{WIDTH} bits" + ("; others pack, but the executor's result is unrelated" if packs else ""),
        remedy=f"Set weight_bits: {WIDTH}",
    )


def _outputs(view: NodeView, program: Program) -> Iterator[Problem]:
    bits = view.integer("o_bits", WIDTH)
    allowed = (WIDTH,) if view.kind in TRANSPOSED else program.device.output_bits
    if bits not in allowed:
        packs = view.kind == "QLinear" and bits in program.device.linear_output_bits
        yield Problem(
            severity=Severity.differs if packs else Severity.refuse,
            found=f"{bits}-bit output",
            limit=f"{', '.join(map(str, allowed))} bits",
            remedy=f"Set activate_bits: {WIDTH}",
        )


def _tanh(view: NodeView, program: Program) -> Iterator[Problem]:
    del program
    bits = view.integer("x_bits", WIDTH)
    if bits != TANH_WIDTH or not view.has("platform_quant"):
        yield Problem(
            severity=Severity.refuse,
            found=f"{bits}-bit input",
            limit=f"{TANH_WIDTH} bits and platform_quant: a tanh of 8 bits cannot be packed",
            remedy="Use relu or sigmoid (on arcs) in the place of tanh",
        )


def _sigmoid(view: NodeView, program: Program) -> Iterator[Problem]:
    allowed = program.device.sigmoid_input_bits
    bits = view.integer("x_bits", WIDTH)
    if bits != allowed:
        yield Problem(
            severity=Severity.differs,
            found=f"{bits}-bit input",
            limit=f"{allowed} bits; others pack, and are not measured",
            remedy=f"Set activate_bits: {allowed} for the layer before it",
        )


CHECKS = (
    Check("activation width", _activations, WEIGHTED),
    Check("weight width", _weights, PARAMETRIC),
    Check("output width", _outputs, WEIGHTED, measured),
    Check("tanh", _tanh, {"QTanh"}),
    Check("sigmoid width", _sigmoid, {"QSigmoid"}),
)
