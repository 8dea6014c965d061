"""Checks that scales are powers of two that agree along each edge, and that kernels can shift by them.

Source: docs/specification/onnx_export.md sections 1, 2, 4.3 and 5.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from linger_jax.export.lint.checks.check import Check, measured
from linger_jax.export.lint.finding import Problem, Severity
from linger_jax.export.lint.node_view import NodeView
from linger_jax.export.lint.program import Program


def _is_power_of_two(value: float) -> bool:
    return math.isfinite(value) and value > 0 and math.frexp(value)[0] == 0.5


def _powers(view: NodeView, program: Program) -> Iterator[Problem]:
    del program
    for name in view.node.attributes:
        value = view.number(name)
        if name.startswith("scale_") and value is not None and not _is_power_of_two(value):
            yield Problem(
                severity=Severity.refuse,
                found=f"{name} {value:g}",
                limit="a positive power of two",
                remedy="Train with power-of-two scales (the default)",
            )


def _agreement(view: NodeView, program: Program) -> Iterator[Problem]:
    for position, tensor in enumerate(view.inputs):
        name = _scale_name(view.kind, position)
        stated = view.number(name) if name else None
        if tensor is None or tensor.scale is None or stated is None or tensor.constant is not None:
            continue
        if stated != tensor.scale:
            maker = program.maker(tensor)
            before = maker.node.name if maker else tensor.name
            yield Problem(
                severity=Severity.refuse,
                found=f"{name} {stated:g} behind {before}, whose scale is {tensor.scale:g}",
                limit="the same scale on both ends of an edge",
                remedy="Export the file anew: linger's bidirectional layers state the scale of one direction only",
            )


def _scale_name(kind: str, position: int) -> str:
    if kind == "QCat":
        return f"scale_x_{position}"
    if kind == "Dequant":
        return "scale_o"
    if kind == "Quant":
        return ""
    return ("scale_x", "scale_y")[position] if position < 2 else ""


def _product(view: NodeView, program: Program) -> Iterator[Problem]:
    del program
    x, y, o = (view.number(name) for name in ("scale_x", "scale_y", "scale_o"))
    if x is not None and y is not None and o is not None and x * y < o:
        yield Problem(
            severity=Severity.refuse,
            found=f"scale_x * scale_y = {x * y:g}, scale_o {o:g}",
            limit="scale_o no larger than scale_x * scale_y",
            remedy="Let the operands use more of their range (calibrate), so that their scales are larger",
        )


def _concatenation(view: NodeView, program: Program) -> Iterator[Problem]:
    del program
    o = view.number("scale_o")
    scales = [view.number(f"scale_x_{i}") for i in range(len(view.inputs))]
    above = [x for x in scales if x is not None and o is not None and x > o]
    if above:
        yield Problem(
            severity=Severity.differs,
            found=f"input scale {max(above):g}, scale_o {o:g}",
            limit="input scales up to scale_o: the executor only shifts left",
            remedy="Set tie_concat_scales: true and train, so that all inputs and the output share one scale",
        )


def _pool(view: NodeView, program: Program) -> Iterator[Problem]:
    del program
    x, o = view.number("scale_x"), view.number("scale_o")
    if x is None or o is None or x == o:
        return
    larger = o > x
    yield Problem(
        severity=Severity.differs if larger else Severity.note,
        found=f"scale_o {o:g}, scale_x {x:g}",
        limit="equal scales: the executor cannot shift left" if larger else "equal scales; others are not measured",
        remedy="Evaluate and export under compat: chip, which keeps the input's scale",
    )


def _one_scale_an_input(view: NodeView, program: Program) -> Iterator[Problem]:
    source = view.input(0)
    if source is None or source.maker is not None:
        return
    rivals = [s for s in program.readers.get(source.name, ()) if s.kind == "Quant" and s.index < view.index]
    stated = [(s.number("scale_x"), s.integer("data_bits")) for s in (*rivals, view)]
    if len(set(stated)) > 1 and stated[-1] != stated[0]:
        yield Problem(
            severity=Severity.refuse,
            found=f"graph input {source.name} is quantized with scales {stated[0][0]:g} and {stated[-1][0]:g}",
            limit="one scale an input: the packer keeps a single one",
            remedy="Feed the branches from one quantized tensor: quantize the input once (from_tensor_to_qtensor)",
        )


CHECKS = (
    Check("power of two", _powers),
    Check("scale agreement", _agreement),
    Check("product scale", _product, {"QBmm", "QMatmul"}),
    Check(
        "concatenation scale",
        _concatenation,
        {"QCat"},
        lambda executor: executor.concatenation_only_shifts_left,
    ),
    Check("pool scale", _pool, {"QAvgPool1d", "QAvgPool2d", "QGlobalAveragePool2d"}, measured),
    Check("input scale", _one_scale_an_input, {"Quant"}),
)
