"""Finds operators that pack and that the executor computes otherwise (docs/specification/onnx_export.md section 5)."""

from __future__ import annotations

from collections.abc import Iterator

from linger_jax.export.lint.checks.check import Check, measured
from linger_jax.export.lint.checks.known_operators import AS_2D, THINKER
from linger_jax.export.lint.finding import Problem, Severity, differs
from linger_jax.export.lint.node_view import NodeView
from linger_jax.export.lint.pack_options import PackOptions
from linger_jax.export.lint.program import Program

NON_NEGATIVE_DIM = "glu_dim_non_negative"


def _convolution_1d(view: NodeView, program: Program) -> Iterator[Problem]:
    yield differs(
        view.node.op,
        f"the executor of {program.platform} computes other values",
        f"{THINKER}: it writes a 2-D convolution of height 1",
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
    if view.written != view.kind:
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
        yield differs(f"dim {dim}", "0 or more: a negative one is misread", THINKER, NON_NEGATIVE_DIM)
    if data is not None:
        yield Problem(
            severity=Severity.note,
            found=f"input {data.name} in share memory",
            limit="activations in PSRAM",
            remedy="Give the packer the option",
            options=PackOptions(psram=(data.name,)),
        )


CHECKS = (
    Check("conv1d", _convolution_1d, {"QConv1d"}, lambda executor: executor.conv1d_differs),
    Check("sigmoid", _sigmoid, {"QSigmoid"}, lambda executor: executor.sigmoid_differs),
    Check("transpose", _transpose, {"Transpose"}, lambda executor: executor.transpose_of_four_axes_crashes),
    Check("layer norm", _layer_norm, {"QLayerNorm"}),
    Check("gated linear unit", _gated_linear_unit, {"QGLU"}, measured),
)
