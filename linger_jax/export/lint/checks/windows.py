"""Kernel, dilation, stride, padding and groups (spec/onnx_export.md section 4.3)."""

from __future__ import annotations

from collections.abc import Iterator

from linger_jax.export.lint.checks.attributes import CONVOLUTIONS, TRANSPOSED
from linger_jax.export.lint.checks.check import Check
from linger_jax.export.lint.finding import Problem, Severity
from linger_jax.export.lint.program import Program
from linger_jax.export.lint.site import Site

POOLS = frozenset({"QAvgPool1d", "QAvgPool2d"})


def _by(values: tuple[int, ...]) -> str:
    return "x".join(map(str, values))


def _list(values: tuple[int, ...]) -> str:
    return ", ".join(map(str, values))


def _refuse(found: str, limit: str, remedy: str) -> Problem:
    return Problem(severity=Severity.refuse, found=found, limit=limit, remedy=remedy)


def _dilation(site: Site, program: Program) -> Iterator[Problem]:
    dilations = site.integers("dilations") or ()
    allowed = (1,) if site.kind in TRANSPOSED else tuple(program.device.conv2d_kernel)
    if any(d not in allowed for d in dilations):
        yield _refuse(f"dilation {_by(dilations)}", f"{_list(allowed)}", "Change the dilation of the layer")


def _kernel(site: Site, program: Program) -> Iterator[Problem]:
    kernel = site.integers("kernel_shape") or ()
    dilations = site.integers("dilations") or (1,) * len(kernel)
    device = program.device
    if site.kind == "QConv2d":
        largest = [device.conv2d_kernel.get(d) for d in dilations]
        text = f"1 to {_list(tuple(sorted({k for k in largest if k})))} with dilation {_by(dilations)}"
    else:
        one = device.transposed_kernel if site.kind in TRANSPOSED else device.conv1d_kernel
        largest, text = [one] * len(kernel), f"1 to {one}"
    if any(most is not None and not 1 <= k <= most for k, most in zip(kernel, largest, strict=True)):
        yield _refuse(f"kernel {_by(kernel)}", text, "Use a smaller kernel, or several layers in a row")


def _stride(site: Site, program: Program) -> Iterator[Problem]:
    strides = site.integers("strides") or ()
    if any(s not in program.device.strides for s in strides):
        yield _refuse(f"stride {_by(strides)}", _list(program.device.strides), "Change the stride of the layer")


def _stride_in_kernel(site: Site, program: Program) -> Iterator[Problem]:
    del program
    kernel, strides = site.integers("kernel_shape") or (), site.integers("strides") or ()
    if any(s > k for k, s in zip(kernel, strides, strict=False)):
        yield _refuse(
            f"stride {_by(strides)} with kernel {_by(kernel)}",
            "a stride no larger than the kernel, on each axis",
            "Use a larger kernel, or pool before the layer",
        )


def _padding(site: Site, program: Program) -> Iterator[Problem]:
    kernel, pads = site.integers("kernel_shape") or (), site.integers("pads") or ()
    axes = len(kernel)
    if any(not 0 <= p <= program.device.padding for p in pads):
        yield _refuse(f"padding {_list(pads)}", f"0 to {program.device.padding}", "Use less padding")
    elif axes and any(p > kernel[i % axes] for i, p in enumerate(pads)):
        yield _refuse(
            f"padding {_list(pads)} with kernel {_by(kernel)}",
            "no more than the kernel, on each axis",
            "Use less padding",
        )


def _groups(site: Site, program: Program) -> Iterator[Problem]:
    del program
    groups = site.integer("group", 1)
    if groups != 1:
        yield _refuse(f"{groups} groups", "1", "Use a transposed convolution without groups")


def _pool_stride(site: Site, program: Program) -> Iterator[Problem]:
    shape, strides = site.shape(), site.integers("strides") or ()
    plane = shape[2:] if shape is not None else (None,) * len(strides)
    allowed = program.device.strides
    if any(s not in allowed and s != extent for s, extent in zip(strides, plane, strict=False)):
        yield _refuse(
            f"stride {_by(strides)}", f"{_list(allowed)} or the whole plane", "Change the stride of the pooling"
        )


_WINDOWED = CONVOLUTIONS | TRANSPOSED
CHECKS = (
    Check("dilation", _dilation, _WINDOWED),
    Check("kernel", _kernel, _WINDOWED),
    Check("stride", _stride, _WINDOWED),
    Check("stride and kernel", _stride_in_kernel, _WINDOWED),
    Check("padding", _padding, _WINDOWED),
    Check("groups", _groups, TRANSPOSED),
    Check("pool stride", _pool_stride, POOLS),
)
