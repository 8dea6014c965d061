"""Checks the widths of activations, weights and outputs (docs/specification/onnx_export.md section 4.3)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from linger_jax.export.lint.checks.check import Check, measured
from linger_jax.export.lint.finding import Problem, differs, refuses
from linger_jax.export.lint.node_view import NodeView, Tensor
from linger_jax.export.lint.program import Program
from linger_jax.kinds import AS_TABLE, ONNX_OPERATORS, WRITES_TABLE, Role
from linger_jax.kinds import onnx_operators as ops
from linger_jax.numerics import EXACT_BITS

WIDTH = 8
"""Bits of activations and weights on every chip."""
TANH_WIDTH = 16
_TABLE_WIDTHS = (8, 16, 32)
"""Of what a Gather reads (docs/specification/executor.md section 3)."""
_COMPUTED = frozenset(op for op in ONNX_OPERATORS if op.quantized and op.states_rounding)


def all_of_one_width(view: NodeView) -> Iterator[Problem]:
    """Operand, weight and result of a node that has no other widths."""
    widths = [view.integer(name, WIDTH) for name in ("x_bits", "w_bits", "o_bits")]
    if any(bits != WIDTH for bits in widths):
        text = ", ".join(map(str, widths))
        yield differs(f"widths {text}", f"{WIDTH} bits", f"Set activate_bits and weight_bits: {WIDTH}")


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


def _wide_result(view: NodeView, program: Program) -> Iterator[Problem]:
    bits = view.integer("o_bits")
    if bits is None or bits <= EXACT_BITS:
        return
    largest = _largest(program, view)
    if largest > 2.0**EXACT_BITS:
        yield differs(
            f"{bits}-bit results of up to {largest:.3g} steps",
            f"{EXACT_BITS} bits: evaluation keeps as many significant ones, the executor all",
            f"Set activate_bits, or output_bits of the layer, to {EXACT_BITS} or fewer",
        )


def _largest(program: Program, view: NodeView) -> float:
    """The largest magnitude that a node's result can have, in its steps."""
    bits = view.integer("o_bits", EXACT_BITS) or EXACT_BITS
    found = 2.0 ** (bits - 1)
    scale, x, y = (view.number(f"scale_{letter}") for letter in "oxy")
    if scale is None or x is None:
        return found
    if view.operator is ops.REQUANT:
        return min(found, _of(program, view.input(0)) * scale / x)
    if view.operator is ops.QADD and y is not None:
        return min(found, sum(_of(program, view.input(i)) * scale / s for i, s in enumerate((x, y))))
    if view.operator in ops.WEIGHTED:
        return min(found, _of_product(program, view) * scale / (x * (view.number("scale_w") or 1.0)))
    return found


def _of_product(program: Program, view: NodeView) -> float:
    """The largest magnitude of a sum of products with stored weights."""
    assert view.operator is not None
    place = view.operator.inputs.index(Role.weight)
    weight, bias = view.input(place), view.input(place + 1)
    if weight is None or weight.constant is None:
        return float("inf")
    added = 0.0 if bias is None else _of(program, bias)
    sizes = np.abs(weight.constant.astype(np.float64))
    of_output = sizes.sum() if view.operator in ops.TRANSPOSED else sizes.reshape(len(sizes), -1).sum(1).max(initial=0)
    return float(of_output) * _of(program, view.input(0)) + added


def _of(program: Program, tensor: Tensor | None) -> float:
    """The largest magnitude that a tensor can hold."""
    if tensor is None:
        return float("inf")
    if tensor.constant is not None:
        return float(np.abs(tensor.constant.astype(np.float64)).max(initial=0))
    maker = program.maker(tensor)
    if maker is not None and maker.operator in _COMPUTED:
        return _largest(program, maker)
    return 2.0 ** ((tensor.bits or EXACT_BITS) - 1)


CHECKS_OF_SCALES = (Check("wide result", _wide_result, _COMPUTED),)
CHECKS = (
    Check("activation width", _activations, ops.WEIGHTED),
    Check("weight width", _weights, ops.PARAMETRIC),
    Check("output width", _outputs, ops.WEIGHTED, measured),
    Check("tanh", _tanh, {ops.QTANH}),
    Check("sigmoid width", _sigmoid, {ops.QSIGMOID}),
    *CHECKS_OF_SCALES,
)
