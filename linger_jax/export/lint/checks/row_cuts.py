"""Checks inputs of convolutions and maximum pools that the executor cuts by rows, since its buffer is smaller.

Source: docs/specification/executor.md section 3.6.
"""

from __future__ import annotations

from collections.abc import Iterator

from linger_jax.export.lint.checks.check import Check
from linger_jax.export.lint.checks.tensor_shapes import IMAGE
from linger_jax.export.lint.finding import Problem, differs
from linger_jax.export.lint.node_view import NodeView
from linger_jax.export.lint.program import Program
from linger_jax.kinds import onnx_operators as ops
from linger_jax.targets import RowBuffer

_GRAIN = 8


def _cuts(view: NodeView, program: Program) -> Iterator[Problem]:
    buffer, shape, result = program.device.executor.row_buffer, view.shape(), view.outputs[0].shape
    kernel, strides = view.integers("kernel_shape") or (), view.integers("strides") or ()
    pads, groups = view.integers("pads") or (0, 0, 0, 0), view.integer("group", 1) or 1
    known = shape is not None and result is not None and len(shape) == IMAGE and len(kernel) == len(strides) == 2
    if buffer is None or not known or shape is None or result is None or shape[1] == groups > 1:
        return  # of a group of one channel it is not known what counts
    channels, height, width = shape[1] // groups, *shape[2:]
    span, stride = (kernel[0] - 1) * (view.integers("dilations") or (1, 1))[0] + 1, strides[0]
    pool = view.operator is ops.MAX_POOL
    row = _up(channels, buffer.pool_grain if pool else _GRAIN) * _up(width, buffer.width_grain * strides[1])
    fit = (buffer.pool_bytes if pool else buffer.size) // row
    top, bottom = pads[0], pads[2]
    if height + (top + bottom if buffer.cuts_evenly else 0) <= fit:
        return
    found = f"{shape[1]}x{height}x{width}, of which {fit} rows fit into the input buffer"
    remedy = "Make the input narrower, or of fewer channels; or change padding and height"
    if height + top > (result[2] - 1) * stride + span:
        yield differs(found, "a larger input whose every row is read", "Cut off the rows that no window reaches")
    elif not _divides(buffer, result[2], stride, span, fit, top, bottom):
        yield differs(found, "an input of parts that the executor joins", remedy)


def _divides(buffer: RowBuffer, rows: int, stride: int, span: int, fit: int, top: int, bottom: int) -> bool:
    """Whether the results come in parts whose input fits, and whose padding lies in one part."""
    if buffer.cuts_evenly:
        parts = [rows // s for s in range(1, rows + 1) if rows % s == 0]
        return any((p - 1) * stride + span <= fit and (p == rows or p * stride >= max(top, bottom)) for p in parts)
    most = (fit - span) // stride + 1
    return most > 0 and (rows % most == 0 or rows % most * stride >= bottom)


def _up(extent: int, grain: int) -> int:
    return -(-extent // grain) * grain


CHECKS = (Check("rows", _cuts, {ops.QCONV2D, ops.MAX_POOL}),)
