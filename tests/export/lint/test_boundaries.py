"""Every limit of the packer, from both sides."""

import pytest

import linger_jax
from linger_jax.export.lint import Severity
from tests.export.lint.boundaries import BOUNDARIES
from tests.export.lint.files import File


@pytest.mark.parametrize("platform", ["arcs", "venusA"])
@pytest.mark.parametrize("name", BOUNDARIES)
def test_the_lint_refuses_what_the_packer_refuses_and_nothing_else(name, platform):
    check, build = BOUNDARIES[name]
    report = linger_jax.check_onnx(build(platform))
    refused = {f.check for f in report.findings if f.severity is Severity.refuse}
    assert refused == (set() if check is None else {check})
    assert all(f.found and f.limit and f.remedy for f in report.findings)


def test_large_weights_need_no_prefetch():
    report = linger_jax.check_onnx(BOUNDARIES["large weights"][1]("arcs"))
    assert (report.ok, report.pack_options) == (True, ["--dma_prefetch", "False"])


def test_large_maps_need_psram():
    report = linger_jax.check_onnx(BOUNDARIES["large maps"][1]("arcs"))
    assert (report.ok, report.pack_options) == (True, ["--threshold4", "359999"])


@pytest.mark.parametrize(("op", "shape"), [("QConv2d", (2, 4, 8, 8)), ("QAvgPool2d", (2, 4, 8, 8))])
def test_batches_differ_behind_layers_over_planes(op, shape):
    file = File()
    x = file.conv(file.input(shape))
    report = linger_jax.check_onnx(file.done(x if op == "QConv2d" else file.pool(x, (2, 2), (2, 2))))
    assert {(f.check, f.severity) for f in report.findings} == {("batch", Severity.differs)}


def test_several_rows_of_linear_layers_are_right_on_arcs():
    file = File()
    assert linger_jax.check_onnx(file.done(file.linear(file.input((3, 8))))).findings == ()


@pytest.mark.parametrize("platform", ["arcs", "venusA"])
def test_a_layer_norm_of_linger_under_the_packer_s_name_packs_and_computes_other_integers(platform):
    file = File(platform)
    x = file.input((1, 3, 8))
    report = linger_jax.check_onnx(file.done(file.weighted("LayerNormInt", x, (8,), 8, scale_y_normal=32768.0)))
    (finding,) = (f for f in report.findings if f.check == "rows")
    assert (finding.severity, finding.found, finding.limit) == (
        Severity.differs,
        "rows that were trained with 1 at 32768 steps",
        "1024",
    )
    assert not report.ok


@pytest.mark.parametrize("platform", ["arcs", "venusA"])
@pytest.mark.parametrize(("length", "fits"), [(361, True), (363, False)])
def test_rows_of_a_layer_norm_fit_sums_of_32_bits(platform, length, fits):
    file = File(platform)
    report = linger_jax.check_onnx(
        file.done(file.weighted("LayerNormInt", file.input((1, 3, length)), (length,), length))
    )
    assert [f.found for f in report.findings if f.check == "sums of rows"] == (
        [] if fits else [f"rows of {length} values"]
    )


def test_rectified_rows_are_placed_in_psram_whole():
    file = File("venusA")
    x = file.node("Relu", [file.linear(file.input((3, 8)))], standard=True)
    assert linger_jax.check_onnx(file.done(file.linear(x))).pack_options == ["--threshold4", "0"]


def test_a_softmax_keeps_its_place_in_share_memory():
    file = File("venusA")
    x = file.node("Relu", [file.linear(file.input((3, 8)))], standard=True)
    report = linger_jax.check_onnx(file.done(file.quantized("QSoftmax", [file.linear(x)], axis=-1)))
    assert report.pack_options == ["-m", "0:psram,1:psram,2:psram,3:psram"]
    assert report.ok


@pytest.mark.parametrize(("scale", "severities"), [(32.0, {"differs"}), (16.0, set()), (8.0, {"note"})])
def test_decision_5_pools_keep_their_scale(scale, severities):
    file = File()
    x = file.conv(file.input((1, 4, 8, 8)))
    window = {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0] * 4}
    report = linger_jax.check_onnx(file.done(file.quantized("QAvgPool2d", [x], scale_o=scale, **window), scale))
    assert {f.severity.value for f in report.findings} == severities


@pytest.mark.parametrize(("platform", "ok"), [("arcs", True), ("venusA", False)])
def test_decision_22_concatenations_shift_left_only_on_venusa(platform, ok):
    file = File(platform)
    x, y = file.linear(file.input((1, 8)), scale_o=32.0), file.input((1, 8))
    scales = {"scale_x_0": 32.0, "scale_x_1": 16.0, "scale_x": None, "x_bits": None, "x_0_bits": 8, "x_1_bits": 8}
    assert linger_jax.check_onnx(file.done(file.quantized("QCat", [x, y], axis=1, **scales))).ok is ok


@pytest.mark.parametrize("op", ["QGelu", "QSwish"])
def test_decision_8_gelu_and_silu_are_refused(op):
    file = File("venusA")
    report = linger_jax.check_onnx(file.done(file.quantized(op, [file.linear(file.input((1, 8)))])))
    assert [f.check for f in report.blocking] == ["operator"]


def test_internal_names_are_checked_like_lingers():
    file = File()
    x = file.weighted("LinearInt", file.input((1, 8)), (8, 8), 8, w_bits=4)
    assert [f.check for f in linger_jax.check_onnx(file.done(x)).findings] == ["weight width"]
