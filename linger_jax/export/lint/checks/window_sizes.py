"""Checks kernel, dilation, stride, padding and groups.

Source: docs/specification/onnx_export.md section 4.3; details measured on the packer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from linger_jax.export.lint.checks.check import Check, measured
from linger_jax.export.lint.checks.tensor_shapes import IMAGE
from linger_jax.export.lint.finding import Problem, differs, notes, refuses
from linger_jax.export.lint.node_view import NodeView
from linger_jax.export.lint.program import Program
from linger_jax.export.scratch_memory import OF_RESULTS, is_planned_for_results
from linger_jax.kinds import AS_2D, USE_THINKER
from linger_jax.kinds import onnx_operators as ops

WINDOWED = ops.CONVOLUTIONS | ops.TRANSPOSED
POOL_OF_PLANE = "pool_of_the_plane"
_SMALL_PLANE, _OF_CHANNELS = 4, 2
"""Points of a plane up to which, and up to which for each channel, an average over all of it is in one piece."""
POOLS = ops.AVERAGES | {ops.MAX_POOL}


def _by(values: tuple[int, ...]) -> str:
    return "x".join(map(str, values))


def _list(values: tuple[int, ...]) -> str:
    return ", ".join(map(str, values))


def _dilation(view: NodeView, program: Program) -> Iterator[Problem]:
    dilations = view.integers("dilations") or ()
    allowed = (1,) if view.operator in ops.TRANSPOSED else tuple(program.device.conv2d_kernel)
    if view.operator is ops.QCONV1D and any(d != 1 for d in dilations):
        helps = all(d in allowed for d in dilations)
        yield differs(
            f"dilation {_by(dilations)}",
            "1: a 1-D convolution ignores its dilation",
            f"{USE_THINKER}: it writes a 2-D convolution of height 1" if helps else "Change the dilation of the layer",
            AS_2D if helps else "",
        )
    elif any(d not in allowed for d in dilations):
        yield refuses(f"dilation {_by(dilations)}", _list(allowed), "Change the dilation of the layer")


def _kernel(view: NodeView, program: Program) -> Iterator[Problem]:
    kernel = view.integers("kernel_shape") or ()
    dilations = view.integers("dilations") or (1,) * len(kernel)
    device = program.device
    if view.operator is ops.QCONV2D:
        largest = [device.conv2d_kernel.get(d) for d in dilations]
        text = f"1 to {_list(tuple(sorted({k for k in largest if k})))} with dilation {_by(dilations)}"
    else:
        one = device.transposed_kernel if view.operator in ops.TRANSPOSED else device.conv1d_kernel
        largest, text = [one] * len(kernel), f"1 to {one}"
    if any(most is not None and not 1 <= k <= most for k, most in zip(kernel, largest, strict=False)):
        yield refuses(f"kernel {_by(kernel)}", text, "Use a smaller kernel, or several layers in a row")


def _kernel_in_plane(view: NodeView, program: Program) -> Iterator[Problem]:
    """Also for transposed convolutions, whose window may not be larger than the padded input either."""
    del program
    shape, kernel, pads = view.shape(), view.integers("kernel_shape") or (), view.integers("pads") or ()
    if shape is None or len(shape) != len(kernel) + 2:
        return
    pads = pads or (0,) * 2 * len(kernel)
    padded = tuple(
        size + begin + end
        for size, begin, end in zip(shape[2:], pads[: len(kernel)], pads[-len(kernel) :], strict=False)
    )
    if any(k > size for k, size in zip(kernel, padded, strict=False)):
        yield refuses(
            f"kernel {_by(kernel)} on a padded plane of {_by(padded)}",
            "a kernel no larger than the plane",
            "Use a smaller kernel or more padding",
        )


def _stride(view: NodeView, program: Program) -> Iterator[Problem]:
    strides = view.integers("strides") or ()
    if any(s not in program.device.strides for s in strides):
        yield refuses(f"stride {_by(strides)}", _list(program.device.strides), "Change the stride of the layer")


def _stride_in_kernel(view: NodeView, program: Program) -> Iterator[Problem]:
    del program
    kernel, strides = view.integers("kernel_shape") or (), view.integers("strides") or ()
    if any(s > k for k, s in zip(kernel, strides, strict=False)):
        yield refuses(
            f"stride {_by(strides)} with kernel {_by(kernel)}",
            "a stride no larger than the kernel, on each axis",
            "Use a larger kernel, or pool before the layer",
        )


def _padding(view: NodeView, program: Program) -> Iterator[Problem]:
    kernel, pads = view.integers("kernel_shape") or (), view.integers("pads") or ()
    axes = len(kernel)
    if any(not 0 <= p <= program.device.padding for p in pads):
        yield refuses(f"padding {_list(pads)}", f"0 to {program.device.padding}", "Use less padding")
    elif axes and any(p > kernel[i % axes] for i, p in enumerate(pads)):
        yield refuses(
            f"padding {_list(pads)} with kernel {_by(kernel)}", "at most the kernel, on each axis", "Use less padding"
        )


def _symmetry(view: NodeView, program: Program) -> Iterator[Problem]:
    del program
    pads = view.integers("pads") or ()
    half = len(pads) // 2
    if pads[:half] != pads[half:]:
        yield notes(
            f"padding {_list(pads)}",
            "the same before and behind; other paddings pack, and are not measured",
            "Give the layer a number as its padding",
        )


def _groups(view: NodeView, program: Program) -> Iterator[Problem]:
    del program
    groups, weight = view.integer("group", 1) or 1, view.shape(1)
    if groups == 1 or weight is None:
        return
    if view.operator in ops.TRANSPOSED:
        yield refuses(f"{groups} groups", "1", "Use a transposed convolution without groups")
        return
    results, channels = weight[0] // groups, weight[1]
    if channels > 1 and results == 1:
        yield refuses(
            f"{groups} groups of {channels} channels with one result each",
            "one channel a group (depthwise), or several results a group",
            "Use more features, or fewer groups",
        )
    elif view.operator is ops.QCONV1D and channels == results == 1:
        yield refuses(
            f"{groups} groups of one channel, one result each",
            "no depthwise 1-D convolution: the packer stops",
            f"{USE_THINKER}: it writes a 2-D convolution of height 1",
            AS_2D,
        )


def _pool_stride(view: NodeView, program: Program) -> Iterator[Problem]:
    shape, strides = view.shape(), view.integers("strides") or ()
    plane = shape[2:] if shape is not None else (None,) * len(strides)
    allowed = program.device.strides
    if any(s not in allowed and s != extent for s, extent in zip(strides, plane, strict=False)):
        yield differs(
            f"stride {_by(strides)}", f"{_list(allowed)} or the whole plane", "Change the stride of the pooling"
        )


def _pool_of_plane(view: NodeView, program: Program) -> Iterator[Problem]:
    """An average over the whole plane without padding is right where the plane is small beside the channels."""
    del program
    shape, kernel, pads = view.shape(), view.integers("kernel_shape") or (), view.integers("pads") or ()
    if shape is None or len(shape) != IMAGE or kernel != shape[2:] or any(pads):
        return
    size, channels = math.prod(kernel), shape[1]
    if size > _SMALL_PLANE and size > _OF_CHANNELS * channels:
        yield differs(
            f"an average over {_by(kernel)} of {channels} channels",
            f"planes of up to {_OF_CHANNELS} points a channel, or stride 2 and a padding of 1 behind",
            USE_THINKER,
            POOL_OF_PLANE,
        )


def _pool_workspace(view: NodeView, program: Program) -> Iterator[Problem]:
    if program.graph.reserving:
        return
    kernel, shape = view.integers("kernel_shape") or (), view.outputs[0].shape
    size = math.prod(kernel)
    if shape is not None and not is_planned_for_results(size, shape):
        yield differs(
            f"an average of {size} values with {math.prod(shape)} results",
            f"a power of two, or up to {OF_RESULTS} values a result: the executor stops",
            f"{USE_THINKER}: it reserves the scratch memory",
            "reserve_scratch_memory",
        )


def _pool_kernel(view: NodeView, program: Program) -> Iterator[Problem]:
    """The packer checks a maximum pool as a convolution, unless its window spans the plane on one axis."""
    kernel, shape = view.integers("kernel_shape") or (), view.shape()
    most = program.device.conv2d_kernel[1]
    spans = shape is not None and any(k == size for k, size in zip(kernel, shape[2:], strict=False))
    if not spans and any(k > most for k in kernel):
        yield refuses(
            f"kernel {_by(kernel)}", f"1 to {most}, or the whole plane", "Use a smaller window, or several in a row"
        )


CHECKS = (
    Check("dilation", _dilation, WINDOWED),
    Check("kernel", _kernel, WINDOWED),
    Check("kernel and plane", _kernel_in_plane, WINDOWED),
    Check("stride", _stride, WINDOWED),
    Check("stride and kernel", _stride_in_kernel, WINDOWED | POOLS),
    Check("padding", _padding, WINDOWED | POOLS),
    Check("symmetric padding", _symmetry, WINDOWED),
    Check("groups", _groups, WINDOWED),
    Check("pool stride", _pool_stride, ops.AVERAGES),
    Check("pool of the plane", _pool_of_plane, {ops.QAVG_POOL2D}, measured),
    Check("pool workspace", _pool_workspace, {ops.QAVG_POOL2D}, measured),
    Check("pool kernel", _pool_kernel, {ops.MAX_POOL}),
)
