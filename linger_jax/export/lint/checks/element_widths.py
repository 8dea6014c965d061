"""Checks the widths of activations, weights and outputs (docs/specification/onnx_export.md section 4.3)."""

from __future__ import annotations

from collections.abc import Iterator

from linger_jax.export.lint.checks.check import Check, measured
from linger_jax.export.lint.finding import Problem, differs, refuses
from linger_jax.export.lint.node_view import NodeView
from linger_jax.export.lint.program import Program
from linger_jax.kinds import AS_TABLE, WRITES_TABLE, Role
from linger_jax.kinds import onnx_operators as ops

WIDTH = 8
"""Bits of activations and weights on every chip."""
TANH_WIDTH = 16
_TABLE_WIDTHS = (8, 16, 32)
"""Of what a Gather reads (docs/specification/executor.md section 3)."""


def _activations(view: NodeView, program: Program) -> Iterator[Problem]:
    del program
    bits = view.integer("x_bits", WIDTH)
    if bits != WIDTH:
        yield refuses(f"{bits}-bit input", f"{WIDTH} bits", f"Set activate_bits: {WIDTH}")


def _weights(view: NodeView, program: Program) -> Iterator[Problem]:
    bits = view.integer("w_bits", WIDTH)
    if bits == WIDTH or bits is None or (view.operator is ops.TABLE_GATHER and bits in _TABLE_WIDTHS):
        return
    assert view.operator is not None
    stored = view.input(view.operator.inputs.index(Role.weight))
    values = stored.constant if stored is not None else None
    inside = values is None or not values.size or -(2 ** (bits - 1)) <= values.min() <= values.max() < 2 ** (bits - 1)
    packs = (bits < WIDTH and inside) or (view.operator is ops.QLINEAR and bits in program.device.linear_weight_bits)
    yield (differs if packs else refuses)(
        f"{bits}-bit weights",
        f"{WIDTH} bits" + ("; others pack, but the executor's result is unrelated" if packs else ""),
        f"Set weight_bits: {WIDTH}",
    )


def _outputs(view: NodeView, program: Program) -> Iterator[Problem]:
    bits, device = view.integer("o_bits", WIDTH), program.device
    assert view.operator is not None
    allowed = device.exact_output_bits.get(view.operator.name, (WIDTH,))
    if bits not in allowed:
        packed = device.linear_output_bits if view.operator is ops.QLINEAR else device.output_bits
        packs = view.operator not in ops.TRANSPOSED and bits in packed
        yield (differs if packs else refuses)(
            f"{bits}-bit output", f"{', '.join(map(str, allowed))} bits", f"Set activate_bits: {WIDTH}"
        )


def _tanh(view: NodeView, program: Program) -> Iterator[Problem]:
    remedy = (WRITES_TABLE, AS_TABLE) if program.device.look_up is not None else ("Use relu in the place of tanh", "")
    bits = view.integer("x_bits", WIDTH)
    if bits != TANH_WIDTH or not view.has("platform_quant"):
        yield refuses(
            f"{bits}-bit input",
            f"{TANH_WIDTH} bits and platform_quant: a tanh of 8 bits cannot be packed",
            *remedy,
        )


def _sigmoid(view: NodeView, program: Program) -> Iterator[Problem]:
    form = program.device.functions[ops.QSIGMOID.name]
    if form is None:
        return
    bits, scale = view.integer("x_bits", WIDTH), view.number("scale_o")
    if bits != form.input_bits:
        yield differs(
            f"{bits}-bit input",
            f"{form.input_bits} bits; others pack, and are not measured",
            f"Set activate_bits: {form.input_bits} for the layer before it, or export with dialect='thinker'",
            AS_TABLE,
        )
    elif scale is not None and scale != form.output_scale:
        yield differs(
            f"scale_o {scale:g}",
            f"{form.output_scale:g}: the executor's results lie there whatever the file says",
            WRITES_TABLE,
            AS_TABLE,
        )


CHECKS = (
    Check("activation width", _activations, ops.WEIGHTED),
    Check("weight width", _weights, ops.PARAMETRIC),
    Check("output width", _outputs, ops.WEIGHTED, measured),
    Check("tanh", _tanh, {ops.QTANH}),
    Check("sigmoid width", _sigmoid, {ops.QSIGMOID}),
)
