"""Integer operators against 64-bit integer and float64 models of the same formulas."""

import numpy as np
import pytest
import torch

import linger_jax
from linger_jax.errors import ExportError
from linger_jax.export.runner import OnnxRunner
from tests.export.runner.onnx_models import ACT, node, quant, write

RNG = np.random.default_rng(7)


def integers(*shape, bits=8):
    return RNG.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, shape, endpoint=True)


def requantized(total, shift, bits=8):
    return np.clip(np.floor(total / 2.0**shift + 0.5), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def run_on_integers(path, x, scale):
    """The integers of the tensor ``y`` when the input's integers are ``x``."""
    value = OnnxRunner(path).run_quantized(np.float32(x) / np.float32(scale), ["y"])["y"]
    return np.asarray(value.value)


@pytest.mark.parametrize("weight_bits", [4, 8, 16])
@pytest.mark.parametrize("terms", [5, 4096])
def test_linear(tmp_path, weight_bits, terms):
    x, w, b = integers(3, terms), integers(2, terms, bits=weight_bits), integers(2, bits=20)
    w = w.astype(np.int8 if weight_bits <= 8 else np.int16)
    attributes = {**ACT, "w_bits": weight_bits, "scale_x": 32.0, "scale_w": 128.0, "scale_o": 16.0, "o_bits": 16}
    nodes = [quant("x", "q", 32.0), node("linger.QLinear", ["q", "w", "b"], ["y"], **attributes)]
    path = write(tmp_path / "m.onnx", nodes, {"x": x.shape}, ["y"], {"w": w, "b": b.astype(np.int32)})
    expected = requantized(x @ w.astype(np.int64).T + b, 8, 16)
    np.testing.assert_array_equal(run_on_integers(path, x, 32.0), expected)


@pytest.mark.parametrize("mode", ["floor_add", "floor", "round"])
def test_rounding_modes(tmp_path, mode):
    x, w = integers(64, 4), integers(3, 4).astype(np.int8)
    attributes = {**ACT, "quant_mode": mode, "w_bits": 8, "scale_x": 32.0, "scale_w": 16.0, "scale_o": 128.0}
    attributes["o_bits"] = 16
    nodes = [quant("x", "q", 32.0), node("linger.QLinear", ["q", "w"], ["y"], **attributes)]
    path = write(tmp_path / "m.onnx", nodes, {"x": x.shape}, ["y"], {"w": w})
    real = x @ w.astype(np.int64).T / 4.0
    rounded = {"floor_add": np.floor(real + 0.5), "floor": np.floor(real), "round": np.rint(real)}[mode]
    np.testing.assert_array_equal(run_on_integers(path, x, 32.0), rounded)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(("stride", "dilation", "padding"), [(1, 1, 1), (2, 1, 0), (1, 2, 2)])
def test_convolution(tmp_path, groups, stride, dilation, padding):
    x, w, b = integers(1, 4, 9, 8), integers(8, 4 // groups, 3, 3), integers(8, bits=16)
    attributes = {
        **ACT,
        "w_bits": 8,
        "scale_x": 32.0,
        "scale_w": 256.0,
        "scale_o": 8.0,
        "kernel_shape": [3, 3],
        "strides": [stride] * 2,
        "dilations": [dilation] * 2,
        "pads": [padding] * 4,
        "group": groups,
    }
    nodes = [quant("x", "q", 32.0), node("linger.QConv2d", ["q", "w", "b"], ["y"], **attributes)]
    constants = {"w": w.astype(np.int8), "b": b.astype(np.int32)}
    path = write(tmp_path / "m.onnx", nodes, {"x": x.shape}, ["y"], constants)
    tensors = [torch.from_numpy(a).double() for a in (x, w, b)]
    total = torch.nn.functional.conv2d(*tensors, stride, padding, dilation, groups).numpy()
    np.testing.assert_array_equal(run_on_integers(path, x, 32.0), requantized(total, 10))


@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolution(tmp_path, groups):
    x, w = integers(1, 4, 5, 6), integers(4, 6 // groups, 3, 2)
    attributes = {
        **ACT,
        "w_bits": 8,
        "scale_x": 32.0,
        "scale_w": 256.0,
        "scale_o": 8.0,
        "kernel_shape": [3, 2],
        "strides": [2, 2],
        "dilations": [1, 2],
        "pads": [1, 0, 1, 0],
        "output_padding": [1, 0],
        "group": groups,
    }
    nodes = [quant("x", "q", 32.0), node("linger.QConvTranspose2d", ["q", "w"], ["y"], **attributes)]
    path = write(tmp_path / "m.onnx", nodes, {"x": x.shape}, ["y"], {"w": w.astype(np.int8)})
    total = torch.nn.functional.conv_transpose2d(
        torch.from_numpy(x).double(), torch.from_numpy(w).double(), None, (2, 2), (1, 0), (1, 0), groups, (1, 2)
    ).numpy()
    np.testing.assert_array_equal(run_on_integers(path, x, 32.0), requantized(total, 10))


def test_add_re_rounds_each_operand_to_the_output_before_the_sum(tmp_path):
    x = integers(1, 100)
    attributes = {"x_bits": 8, "y_bits": 8, "o_bits": 8, "platform": "arcs", "quant_mode": "floor_add"}
    nodes = [
        quant("x", "a", 64.0),
        quant("x", "b", 16.0),
        node("linger.QAdd", ["a", "b"], ["y"], scale_x=64.0, scale_y=16.0, scale_o=8.0, **attributes),
    ]
    path = write(tmp_path / "m.onnx", nodes, {"x": x.shape}, ["y"])
    b = np.floor(x / 4 + 0.5)
    expected = np.clip(np.floor(x / 8 + 0.5) + np.floor(b / 2 + 0.5), -128, 127)
    np.testing.assert_array_equal(run_on_integers(path, x, 64.0), expected)


def test_concatenation_of_three_tensors_on_three_grids(tmp_path):
    x = integers(2, 5)
    nodes = [quant("x", name, scale) for name, scale in (("a", 64.0), ("b", 32.0), ("c", 16.0))]
    scales = {"scale_x_0": 64.0, "scale_x_1": 32.0, "scale_x_2": 16.0, "scale_o": 32.0}
    nodes.append(
        node(
            "linger.QCat", ["a", "b", "c"], ["y"], axis=-1, o_bits=8, platform="arcs", quant_mode="floor_add", **scales
        )
    )
    path = write(tmp_path / "m.onnx", nodes, {"x": x.shape}, ["y"])
    parts = [np.floor(x / 2 + 0.5), np.floor(x / 2 + 0.5), np.clip(np.floor(x / 4 + 0.5) * 2, -128, 127)]
    np.testing.assert_array_equal(run_on_integers(path, x, 64.0), np.concatenate(parts, -1))


@pytest.mark.parametrize("include_padding", [0, 1])
@pytest.mark.parametrize("ceil", [0, 1])
def test_average_pooling_is_the_chips_division_of_window_sums(tmp_path, include_padding, ceil):
    x = integers(1, 2, 7, 6)
    attributes = {
        **ACT,
        "scale_x": 32.0,
        "scale_o": 32.0,
        "kernel_shape": [3, 2],
        "strides": [2, 2],
        "pads": [1, 0, 1, 0],
        "ceil_mode": ceil,
        "count_include_pad": include_padding,
        "divisor_override": -1,
    }
    nodes = [quant("x", "q", 32.0), node("linger.QAvgPool2d", ["q"], ["y"], **attributes)]
    path = write(tmp_path / "m.onnx", nodes, {"x": x.shape}, ["y"])
    average = torch.nn.functional.avg_pool2d(
        torch.from_numpy(x).double(), (3, 2), (2, 2), (1, 0), bool(ceil), bool(include_padding)
    ).numpy()
    got = run_on_integers(path, x, 32.0)
    assert got.shape == average.shape
    # Ties may fall either way: the chip multiplies with a reciprocal.
    tie = np.abs(average - np.floor(average) - 0.5) < 1e-9
    np.testing.assert_array_equal(got[~tie], np.floor(average + 0.5)[~tie])
    assert np.all(np.abs(got - average) <= 0.5 + 1e-9)


@pytest.mark.parametrize("ceil", [0, 1])
def test_max_pooling_never_takes_its_padding(tmp_path, ceil):
    x = -np.abs(integers(1, 2, 7, 6)) - (integers(1, 2, 7, 6) == 0)
    x = np.clip(x, -128, -1)
    pool = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "dilations": [1, 1], "ceil_mode": ceil}
    nodes = [quant("x", "q", 32.0), node("MaxPool", ["q"], ["y"], **pool)]
    path = write(tmp_path / "m.onnx", nodes, {"x": x.shape}, ["y"])
    expected = torch.nn.functional.max_pool2d(torch.from_numpy(x).double(), 3, 2, 1, ceil_mode=bool(ceil)).numpy()
    np.testing.assert_array_equal(run_on_integers(path, x, 32.0), expected)


def test_clip_bounds_are_in_real_units(tmp_path):
    x = integers(1, 50)
    constants = {"low": np.float32(0), "high": np.float32(6)}
    nodes = [quant("x", "q", 16.0), node("Clip", ["q", "low", "high"], ["y"])]
    path = write(tmp_path / "m.onnx", nodes, {"x": x.shape}, ["y"], constants)
    np.testing.assert_array_equal(run_on_integers(path, x, 16.0), np.clip(x, 0, 96))


def test_padding_off_the_grid_is_refused(tmp_path):
    constants = {"pads": np.array([0, 1, 0, 1]), "fill": np.float32(0.3)}
    nodes = [quant("x", "q", 16.0), node("Pad", ["q", "pads", "fill"], ["y"])]
    path = write(tmp_path / "m.onnx", nodes, {"x": [1, 4]}, ["y"], constants)
    with pytest.raises(ExportError, match=r"Pad_y.*does not lie on the grid of scale 16"):
        OnnxRunner(path).run(np.zeros((1, 4), np.float32))


def test_weights_beyond_their_declared_width_are_refused(tmp_path):
    attributes = {**ACT, "w_bits": 4, "scale_x": 32.0, "scale_w": 128.0, "scale_o": 16.0}
    nodes = [quant("x", "q", 32.0), node("linger.QLinear", ["q", "w"], ["y"], **attributes)]
    path = write(tmp_path / "m.onnx", nodes, {"x": [1, 2]}, ["y"], {"w": np.array([[100, 3]], np.int8)})
    with pytest.raises(ExportError, match=r"QLinear_y.*input 1 must hold 4-bit integers"):
        OnnxRunner(path).run(np.zeros((1, 2), np.float32))


def test_operands_that_do_not_fit_are_refused_and_the_node_is_named(tmp_path):
    attributes = {**ACT, "w_bits": 8, "scale_x": 32.0, "scale_w": 128.0, "scale_o": 16.0}
    nodes = [quant("x", "q", 32.0), node("linger.QLinear", ["q", "w"], ["y"], **attributes)]
    path = write(tmp_path / "m.onnx", nodes, {"x": [1, 2]}, ["y"], {"w": np.ones((1, 3), np.int8)})
    with pytest.raises(ExportError, match=r"QLinear_y \(linger::QLinear\): its operands .* do not fit"):
        OnnxRunner(path).run(np.zeros((1, 2), np.float32))
    assert linger_jax.check_onnx(path).platform == ACT["platform"]  # the lint looks at such a file all the same


def test_a_scale_that_is_no_power_of_two_is_refused(tmp_path):
    path = write(tmp_path / "m.onnx", [quant("x", "y", 3.0)], {"x": [1, 2]}, ["y"])
    with pytest.raises(ExportError, match=r"Quant_y.*scale_x is 3.0.*power of two"):
        OnnxRunner(path).run(np.zeros((1, 2), np.float32))


def test_a_table_gives_the_result_that_stands_at_an_integer(tmp_path):
    x = np.arange(-128, 128).reshape(2, 128)
    results = np.random.default_rng(0).integers(-(2**15), 2**15, 256).astype(np.int16)
    attributes = {**ACT, "scale_x": 32.0, "scale_o": 512.0, "o_bits": 16}
    nodes = [quant("x", "q", 32.0), node("linger.QTable", ["q", "r"], ["y"], **attributes)]
    path = write(tmp_path / "m.onnx", nodes, {"x": x.shape}, ["y"], {"r": results})
    np.testing.assert_array_equal(run_on_integers(path, x, 32.0).reshape(-1), results)


@pytest.mark.parametrize(
    ("results", "scale", "said"),
    [(255, 32.0, r"results of shape \(255,\)"), (256, 64.0, "results are of the scale 64, its operand lies at 32")],
)
def test_a_table_that_does_not_fit_its_operand_is_refused(tmp_path, results, scale, said):
    attributes = {**ACT, "scale_x": scale, "scale_o": 64.0}
    nodes = [quant("x", "q", 32.0), node("linger.QTable", ["q", "r"], ["y"], **attributes)]
    path = write(tmp_path / "m.onnx", nodes, {"x": (1, 2)}, ["y"], {"r": np.zeros(results, np.int8)})
    with pytest.raises(ExportError, match=said):
        run_on_integers(path, np.zeros((1, 2)), 32.0)
