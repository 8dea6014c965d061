"""Finds operators that pack and that the executor computes otherwise (docs/specification/onnx_export.md section 5)."""

from __future__ import annotations

from collections.abc import Iterator

from linger_jax.export.lint.checks.check import Check, measured
from linger_jax.export.lint.finding import Problem, differs, notes
from linger_jax.export.lint.node_view import NodeView
from linger_jax.export.lint.pack_options import PackOptions
from linger_jax.export.lint.program import Program
from linger_jax.kinds import AS_2D, USE_THINKER
from linger_jax.kinds import onnx_operators as ops

NON_NEGATIVE_DIM = "glu_dim_non_negative"


def _convolution_1d(view: NodeView, program: Program) -> Iterator[Problem]:
    yield differs(
        view.node.op,
        f"the executor of {program.platform} computes other values",
        f"{USE_THINKER}: it writes a 2-D convolution of height 1",
        AS_2D,
    )


def _sigmoid(view: NodeView, program: Program) -> Iterator[Problem]:
    yield differs(
        view.node.op,
        f"every result of the executor of {program.platform} is 64",
        "Choose platform arcs, or relu in the place of sigmoid",
    )


def _transpose(view: NodeView, program: Program) -> Iterator[Problem]:
    shape = view.shape()
    if shape is not None and len(shape) == 4:
        yield differs(
            f"a 4-D transpose ({'x'.join(map(str, shape))})",
            f"3-D: the executor of {program.platform} crashes",
            "Merge axes before the transpose, or choose platform arcs",
        )


def _layer_norm(view: NodeView, program: Program) -> Iterator[Problem]:
    del program
    if view.written == ops.QLAYER_NORM.packing.name:
        yield differs(
            view.node.op,
            "the executor normalizes at Q10, training at Q15",
            "Keep the layer off the chip, or use BatchNorm in its place",
        )


def _gated_linear_unit(view: NodeView, program: Program) -> Iterator[Problem]:
    dim, data = view.integer("dim", -1), view.input(0)
    if program.device.executor.glu_differs:
        yield differs(
            view.node.op,
            f"the executor of {program.platform} computes other values",
            "Choose platform venusA, or sigmoid and mul",
        )
        return
    if dim is not None and dim < 0:
        yield differs(f"dim {dim}", "0 or more: a negative one is misread", USE_THINKER, NON_NEGATIVE_DIM)
    if data is not None:
        yield notes(
            f"input {data.name} in share memory",
            "activations in PSRAM",
            "Give the packer the option",
            PackOptions(psram=(data.name,)),
        )


CHECKS = (
    Check("conv1d", _convolution_1d, {ops.QCONV1D}, lambda executor: executor.conv1d_differs),
    Check("sigmoid", _sigmoid, {ops.QSIGMOID}, lambda executor: executor.sigmoid_differs),
    Check("transpose", _transpose, {ops.TRANSPOSE}, lambda executor: executor.transpose_of_four_axes_crashes),
    Check("layer norm", _layer_norm, {ops.QLAYER_NORM}),
    Check("gated linear unit", _gated_linear_unit, {ops.QGLU}, measured),
)
