"""Checks that scales are powers of two that agree along each edge, and that kernels can shift by them.

Source: docs/specification/onnx_export.md sections 1, 2, 4.3 and 5.
"""

from __future__ import annotations

from collections.abc import Iterator

from linger_jax.export.lint.checks.check import Check, measured
from linger_jax.export.lint.finding import Problem, differs, notes, refuses
from linger_jax.export.lint.node_view import NodeView
from linger_jax.export.lint.program import Program
from linger_jax.kinds import OnnxOperator
from linger_jax.kinds import onnx_operators as ops
from linger_jax.numerics import is_power_of_two
from linger_jax.targets import FARTHEST_LEFT_SHIFT


def _powers(view: NodeView, program: Program) -> Iterator[Problem]:
    del program
    for name in view.node.attributes:
        value = view.number(name)
        if name.startswith("scale_") and value is not None and not is_power_of_two(value):
            yield refuses(
                f"{name} {value:g}", "a positive power of two", "Train with power-of-two scales (the default)"
            )


def _agreement(view: NodeView, program: Program) -> Iterator[Problem]:
    for position, tensor in enumerate(view.inputs):
        name = _scale_name(view.operator, position)
        stated = view.number(name) if name else None
        if tensor is None or tensor.scale is None or stated is None or tensor.constant is not None:
            continue
        if stated != tensor.scale:
            maker = program.maker(tensor)
            before = maker.node.name if maker else tensor.name
            yield refuses(
                f"{name} {stated:g} behind {before}, whose scale is {tensor.scale:g}",
                "the same scale on both ends of an edge",
                "Export the file anew: linger's bidirectional layers state the scale of one direction only",
            )


def _scale_name(operator: OnnxOperator | None, position: int) -> str:
    if operator is ops.QCAT:
        return f"scale_x_{position}"
    if operator is ops.DEQUANT:
        return "scale_o"
    if operator is ops.QUANT:
        return ""
    return ("scale_x", "scale_y")[position] if position < 2 else ""


def _product(view: NodeView, program: Program) -> Iterator[Problem]:
    """The packer stops at a product of matrices; other products stop the executor, or are wrong there."""
    del program
    name = "scale_w" if view.operator in ops.WITH_BIAS else "scale_y"
    x, y, o = (view.number(name) for name in ("scale_x", name, "scale_o"))
    if x is not None and y is not None and o is not None and x * y < o:
        yield (refuses if view.operator in ops.PRODUCTS else differs)(
            f"scale_x * {name} = {x * y:g}, scale_o {o:g}",
            f"scale_o no larger than scale_x * {name}: nothing shifts left",
            "Let the operands use more of their range (calibrate), so that their scales are larger",
        )


def _far_shift(view: NodeView, program: Program) -> Iterator[Problem]:
    del program
    o = view.number("scale_o")
    scales = [scale for i in range(len(view.inputs)) if (scale := view.number(f"scale_x_{i}"))]
    if o is not None and scales and o > FARTHEST_LEFT_SHIFT * min(scales):
        yield differs(
            f"input scale {min(scales):g}, scale_o {o:g}",
            f"scale_o up to {FARTHEST_LEFT_SHIFT} times an input's: the executor shifts no farther",
            "Set tie_concat_scales: true and train, so that all inputs and the output share one scale",
        )


def _concatenation(view: NodeView, program: Program) -> Iterator[Problem]:
    del program
    o = view.number("scale_o")
    scales = [view.number(f"scale_x_{i}") for i in range(len(view.inputs))]
    above = [x for x in scales if x is not None and o is not None and x > o]
    if above:
        yield differs(
            f"input scale {max(above):g}, scale_o {o:g}",
            "input scales up to scale_o: the executor only shifts left",
            "Set tie_concat_scales: true and train, so that all inputs and the output share one scale",
        )


def _float_reader(view: NodeView, program: Program) -> Iterator[Problem]:
    """The packer drops Quants: what one reads is integers for all nodes, and has to be a graph input."""
    source = view.input(0)
    if source is None or source.bits is not None or source.constant is not None:
        return
    if view.operator is ops.QUANT:
        maker = program.maker(source)
        if maker is not None and maker.operator is not ops.DEQUANT:
            yield differs(
                f"a Quant behind {maker.node.name}, which is wanted as floats, too",
                "a Quant at the graph input",
                "Return what is made of quantized values alone (from_tensor_to_qtensor in front)",
            )
        return
    if source.maker is not None:
        return
    if any(reader.operator is ops.QUANT for reader in program.readers[source.name]):
        yield differs(
            f"graph input {source.name} is quantized elsewhere, and read as it is here",
            "integers everywhere: a package has one type for an input",
            "Return what is made of quantized values alone (from_tensor_to_qtensor in front)",
        )


def _pool(view: NodeView, program: Program) -> Iterator[Problem]:
    del program
    x, o = view.number("scale_x"), view.number("scale_o")
    if x is None or o is None or x == o:
        return
    larger = o > x
    yield (differs if larger else notes)(
        f"scale_o {o:g}, scale_x {x:g}",
        "equal scales: the executor cannot shift left" if larger else "equal scales; others are not measured",
        "Evaluate and export under compat: chip, which keeps the input's scale",
    )


def _one_scale_an_input(view: NodeView, program: Program) -> Iterator[Problem]:
    source = view.input(0)
    if source is None or source.maker is not None:
        return
    rivals = [s for s in program.readers.get(source.name, ()) if s.operator is ops.QUANT and s.index < view.index]
    stated = [(s.number("scale_x"), s.integer("data_bits")) for s in (*rivals, view)]
    if len(set(stated)) > 1 and stated[-1] != stated[0]:
        yield refuses(
            f"graph input {source.name} is quantized with scales {stated[0][0]:g} and {stated[-1][0]:g}",
            "one scale an input: the packer keeps a single one",
            "Feed the branches from one quantized tensor: quantize the input once (from_tensor_to_qtensor)",
        )


CHECKS = (
    Check("power of two", _powers),
    Check("scale agreement", _agreement),
    Check("product scale", _product, ops.PRODUCTS | ops.WITH_BIAS | {ops.QMUL}),
    Check("concatenation shift", _far_shift, {ops.QCAT}, measured),
    Check("float reader", _float_reader),
    Check(
        "concatenation scale",
        _concatenation,
        {ops.QCAT},
        lambda executor: executor.concatenation_only_shifts_left,
    ),
    Check("pool scale", _pool, ops.AVERAGES, measured),
    Check("input scale", _one_scale_an_input, {ops.QUANT}),
)
