"""Convolutions that a device lacks, in forms that it computes; every file is compared with evaluation to the bit."""

import flax.linen as nn
import onnx
import pytest

from linger_jax.errors import LingerWarning
from tests.export.thinker.files import attributes, exported
from tests.models import normal


def inner(path):
    """Operators between Quant and Dequant."""
    return [n.op_type for n in onnx.load(path).graph.node if n.op_type not in ("Quant", "Dequant")]


def conv(features, kernel, stride=1, padding=0, **more):
    return lambda x: nn.Conv(features, kernel, stride, padding, **more)(x)


@pytest.mark.parametrize(
    ("platform", "kernel", "stride", "padding", "plane", "second"),
    [
        ("venus", (7, 7), 2, 3, (15, 18), [4, 4]),
        ("arcs", (6, 7), 2, ((2, 1), (3, 3)), (14, 17), [3, 4]),
        ("venusA", (11, 8), 4, 2, (27, 22), [3, 2]),
        ("venus", (8, 8), 8, 0, (23, 17), [3, 2]),
        ("venusA", (16, 16), 16, 0, (32, 32), [4, 4]),
    ],
)
def test_a_window_that_is_too_large_goes_over_phases(tmp_path, platform, kernel, stride, padding, plane, second):
    path = exported(tmp_path, conv(3, kernel, stride, padding), normal(2, *plane, 2), platform=platform)
    assert inner(path) == ["QConv2d", "QConv2d"]
    model = onnx.load(path)
    kernels = [a.ints for n in model.graph.node for a in n.attribute if a.name == "kernel_shape"]
    assert [list(k) for k in kernels][1] == second


@pytest.mark.parametrize("platform", ["arcs", "venusA"])
def test_a_large_window_of_stride_one_is_a_transposed_convolution(tmp_path, platform):
    function = conv(3, (9, 6), 1, ((4, 4), (2, 3)), use_bias=False)
    path = exported(tmp_path, function, normal(2, 9, 10, 2), image=True, platform=platform)
    assert inner(path) == ["QConvTranspose2d"]
    assert attributes(path, "QConvTranspose2d")["pads"] == [4, 3, 4, 2]
    assert len(next(n for n in onnx.load(path).graph.node if n.op_type == "QConvTranspose2d").input) == 3


def test_a_large_window_that_the_buffer_does_not_hold_stays_refused(tmp_path):
    with pytest.warns(LingerWarning, match="kernel 7x7"):
        path = exported(tmp_path, conv(2, (7, 7), 1, 3), normal(1, 20, 48, 9), platform="arcs", strict=False)
    assert inner(path) == ["QConv2d"]


def test_a_group_of_one_result_has_a_second_of_zeros(tmp_path):
    path = exported(tmp_path, conv(3, (3, 3), 1, 1, feature_group_count=3), normal(2, 6, 5, 6), platform="arcs")
    assert inner(path) == ["QConv2d", "Gather"]


@pytest.mark.parametrize(
    ("platform", "channels", "features", "groups", "written"),
    [("venus", 8, 8, 4, 2), ("venus", 6, 12, 6, 2), ("venus", 4, 4, 4, 4), ("arcs", 8, 8, 4, 4)],
)
def test_groups_of_few_channels_are_joined_on_venus(tmp_path, platform, channels, features, groups, written):
    function = conv(features, (3, 3), 1, 1, feature_group_count=groups)
    path = exported(tmp_path, function, normal(2, 5, 6, channels), platform=platform)
    assert attributes(path, "QConv2d")["group"] == written
