"""Where a page, a configuration file or a check states what a chip is like, it says what the record says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import linger_jax
from linger_jax.errors import PlatformLimitError
from linger_jax.export.lint import Severity
from linger_jax.plan.decide.window_limits import check_window
from linger_jax.targets import Platform, WindowLimits, device_of, packed_platforms, target_of
from tests.export.lint.boundaries import Build, plane, sequence, softmax

ROOT = Path(__file__).parents[2]
EACH_PLATFORM = pytest.mark.parametrize("platform", list(Platform))
EACH_PACKED = pytest.mark.parametrize("platform", packed_platforms())
MATRIX = (ROOT / "docs/support_matrix.md").read_text(encoding="utf-8")


def rows(text: str, heading: str) -> dict[str, dict[str, str]]:
    """A table of Markdown by its first column: row -> column -> cell."""
    lines = text[text.index(heading) :].split("\n\n", 1)[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: dict(zip(cells[0][1:], row[1:], strict=True)) for row in cells[2:]}


def one_of(strides: tuple[int, ...]) -> str:
    return f"{', '.join(map(str, strides[:-1]))} or {strides[-1]}"


def described(limits: WindowLimits) -> dict[str, str]:
    """Limits as docs/specification/config.md section 2.3 writes them."""
    between = {name: getattr(limits, name) for name in ("kernel", "padding")}
    texts = {name: "not checked" if b is None else f"{b[0]}..{b[1]}" for name, b in between.items()}
    return {**texts, "stride": one_of(limits.strides)}


@EACH_PLATFORM
def test_windows_of_the_specification_are_those_of_the_record(platform):
    page = (ROOT / "docs/specification/config.md").read_text(encoding="utf-8")
    stated = rows(page, "| platform | kernel | stride | padding |")
    (row,) = (row for names, row in stated.items() if platform.value in names.split(", "))
    assert row == described(target_of(platform).windows)


@EACH_PLATFORM
@pytest.mark.parametrize("what", ["kernel", "padding"])
def test_training_takes_windows_up_to_the_record_s_limit(platform, what):
    bounds = getattr(target_of(platform).windows, what)
    if bounds is None:
        check_window("layer", platform, **{what: [10**6]})
        return
    check_window("layer", platform, **{what: bounds})
    for beyond in (bounds[0] - 1, bounds[1] + 1):
        with pytest.raises(PlatformLimitError, match=rf"\({bounds[0]} to {bounds[1]}\)"):
            check_window("layer", platform, **{what: [beyond]})


@EACH_PACKED
def test_the_comments_of_a_configuration_file_are_true(platform):
    text = (ROOT / f"configs/{platform}.yaml").read_text(encoding="utf-8")
    target = target_of(platform)
    assert target.windows.kernel is not None
    assert target.windows.padding is not None
    (low, high), (least, most) = target.windows.kernel, target.windows.padding
    strides = one_of(target.windows.strides)
    assert f"Kernels {low} to {high}, strides {strides}, padding {least} to {most}." in text
    tied = "yes" if target.ties_concat_scales else "no"
    assert f"null: {tied}, on this platform." in text


@EACH_PLATFORM
def test_the_support_matrix_has_kernels_where_the_record_has(platform):
    stated = rows(MATRIX, "| Operators |")
    assert (stated["`softmax`"][platform] == "-") is (target_of(platform).kernels is None)
    for name in ("`sigmoid`", "`tanh`", "`gelu`", "`silu`", "`leaky_relu`"):  # a table where there is no kernel
        assert stated[name][platform] != "-"


@EACH_PLATFORM
def test_the_support_matrix_packs_where_the_record_has_a_device(platform):
    stages = {row[platform].rstrip("*") for row in rows(MATRIX, "| Layers |").values()}
    device = target_of(platform).device
    assert bool(stages & {"packs", "equal", "equal, if"}) is (device is not None)
    assert bool(stages & {"equal", "equal, if"}) is (device is not None and device.executor.measured)


@EACH_PLATFORM
def test_formats_of_the_page_about_functions_are_those_of_the_record(platform):
    page = (ROOT / "docs/chip_functions.md").read_text(encoding="utf-8")
    stated = rows(page, "| function |")
    (column,) = (name for name in next(iter(stated.values())) if platform.value in name.split(", "))
    curves, gated = next(row for name, row in stated.items() if "tanh" in name), stated["gelu, swish (silu)"]
    kernels = target_of(platform).kernels
    assert (gated[column] == "none") is (kernels is None or kernels.gelu_swish is None)
    if kernels is None:
        assert curves[column] == "none"
        return
    arithmetic = kernels.sigmoid_tanh.arithmetic
    kept = getattr(arithmetic, "kept_fraction_bits", None) or getattr(arithmetic, "result_fraction_bits", None)
    assert curves[column] == f"Q{kernels.sigmoid_tanh.input_fraction_bits} to Q{kept}"


def refused(build: Build, platform: Platform) -> set[str]:
    findings = linger_jax.check_onnx(build(platform.value)).findings
    return {finding.check for finding in findings if finding.severity is Severity.refuse}


@EACH_PACKED
def test_the_lint_takes_kernels_up_to_the_record_s_limit(platform):
    device = device_of(platform)
    for dilation, largest in device.conv2d_kernel.items():
        size = dilation * largest + 1
        assert "kernel" not in refused(plane((largest, largest), size, dilation=dilation), platform)
        assert "kernel" in refused(plane((largest + 1, 1), size, dilation=dilation), platform)
    assert "kernel" not in refused(sequence(device.conv1d_kernel), platform)
    assert "kernel" in refused(sequence(device.conv1d_kernel + 1), platform)
    transposed = device.transposed_kernel
    assert "kernel" not in refused(plane((transposed, 1), transposed=True), platform)
    assert "kernel" in refused(plane((transposed + 1, 1), transposed=True), platform)


@EACH_PACKED
def test_the_lint_takes_dilations_strides_and_padding_of_the_record(platform):
    device = device_of(platform)
    for dilation in range(1, 10):
        assert ("dilation" in refused(plane((2, 2), dilation=dilation), platform)) is (
            dilation not in device.conv2d_kernel
        )
    for stride in range(1, 6):
        assert ("stride" in refused(plane((5, 5), stride=stride), platform)) is (stride not in device.strides)
    for padding in (device.padding, device.padding + 1):
        findings = refused(plane((padding, padding), pads=padding), platform)
        assert ("padding" in findings) is (padding > device.padding)


@EACH_PACKED
def test_the_lint_takes_a_softmax_up_to_the_record_s_length(platform):
    length = device_of(platform).softmax_length
    assert "softmax length" not in refused(softmax(length), platform)
    assert "softmax length" in refused(softmax(length + 1), platform)


def test_platforms_of_the_page_about_deployment_that_want_platform_quant():
    page = re.sub(r"\s+", " ", (ROOT / "docs/onnx_files.md").read_text(encoding="utf-8"))
    (row,) = re.findall(r"also `platform_quant: luna_quant`, and `dim` of a softmax, on ([^|]*?) \|", page)
    wanting = {p.value for p in packed_platforms() if device_of(p).platform_quant.name != "unused"}
    assert set(row.split(" and ")) == wanting
