"""Each rule of the thinker dialect: what stands in the file; every file is compared with evaluation to the bit."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest

import linger_jax
from tests.export.thinker.files import attributes, exported, operators
from tests.models import initialised, normal


def inner(path):
    """Operators between Quant and Dequant."""
    return [op for op in operators(path) if op not in ("Quant", "Dequant")]


ROWS = {"arcs": ["QLinear"], "venusA": ["Transpose", "Reshape", "QConv2d", "Reshape", "Transpose"]}
"""A linear layer of several rows: venusA's executor has such convolutions alone."""


def conv_stack(x, dilation=1):
    x = nn.relu(nn.Conv(6, (3,))(x))
    x = nn.relu(x + nn.Conv(6, (3,), kernel_dilation=dilation)(x))
    return nn.Conv(4, (1,))(x)


@pytest.mark.parametrize(
    ("platform", "nodes"),
    [
        ("arcs", ["QConv1d", "Relu", "QConv1d", "QAdd", "Relu", "QConv1d"]),
        ("venusA", ["Reshape", "QConv2d", "Relu", "QConv2d", "QAdd", "Relu", "QConv2d", "Reshape"]),
    ],
)
def test_conv1d_is_a_plane_of_height_one_on_venus_a(tmp_path, platform, nodes):
    path = exported(tmp_path, conv_stack, normal(5, 9, 4), platform=platform)
    assert inner(path) == nodes
    if platform == "venusA":
        assert attributes(path, "QConv2d")["kernel_shape"] == [1, 3]
        assert attributes(path, "QConv2d")["pads"] == [0, 1, 0, 1]


def test_a_dilated_conv1d_is_a_plane_where_a_sequence_has_no_dilation(tmp_path):
    path = exported(tmp_path, lambda x: conv_stack(x, 2), normal(5, 9, 4))
    assert inner(path).count("QConv2d") == 1
    model = onnx.load(path)
    values = [
        onnx.helper.get_attribute_value(a) for n in model.graph.node for a in n.attribute if a.name == "dilations"
    ]
    assert [1, 2] in values


def test_other_sequence_layers_are_planes_on_every_platform(tmp_path):
    def function(x):
        x = nn.max_pool(nn.relu(nn.BatchNorm(use_running_average=True)(nn.Conv(6, (3,))(x))), (2,), (2,))
        x = nn.ConvTranspose(4, (4,), strides=(2,))(x)
        with jax.numpy_dtype_promotion("standard"):  # Flax's own avg_pool divides a float by an integer
            return nn.Dense(3)(nn.avg_pool(x, (2,), (2,)).reshape(x.shape[0], -1))

    path = exported(tmp_path, function, normal(5, 8, 4), image=True)
    planes = ["QBatchNorm2d", "Relu", "MaxPool", "QConvTranspose2d", "QAvgPool2d"]
    assert inner(path) == ["QConv1d", "Reshape", *planes, "Flatten", "QLinear"]
    assert attributes(path, "MaxPool")["strides"] == [1, 2]


def test_normalized_vectors_are_planes_of_one_point(tmp_path):
    path = exported(tmp_path, lambda x: nn.BatchNorm(use_running_average=True)(nn.Dense(7)(x)), normal(8, 4))
    assert inner(path) == ["QLinear", "Reshape", "QBatchNorm2d", "Reshape"]


@pytest.mark.parametrize(
    ("kernel", "strides", "plane", "shape", "pads"),
    [
        ((3, 3), 2, (8, 8), [4, 4], [1, 1, 1, 1]),
        ((4, 2), 1, (6, 5), [5, 3], [2, 1, 2, 1]),
        ((3, 3), 2, (7, 8), [3, 4], [1, 1, 1, 1]),
    ],
)
def test_uneven_padding_is_part_of_the_convolution(tmp_path, kernel, strides, plane, shape, pads):
    """Padding "SAME" of an even window (docs/decisions.md D18)."""
    path = exported(tmp_path, lambda x: nn.Conv(8, kernel, strides=strides)(x), normal(3, *plane, 4))
    assert inner(path) == ["QConv2d"]
    assert attributes(path, "QConv2d")["kernel_shape"] == shape
    assert attributes(path, "QConv2d")["pads"] == pads


@pytest.mark.parametrize(
    ("kernel", "strides", "shape", "pads"),
    [((1, 1), 2, [3, 3], [1, 1, 1, 1]), ((1, 1), (1, 4), [1, 5], [0, 2, 0, 2]), ((2, 3), 4, [4, 5], [1, 1, 1, 1])],
)
def test_a_kernel_becomes_as_wide_as_the_stride(tmp_path, kernel, strides, shape, pads):
    path = exported(tmp_path, lambda x: nn.Conv(8, kernel, strides=strides, padding="VALID")(x), normal(3, 7, 8, 4))
    assert inner(path) == ["QConv2d"]
    assert attributes(path, "QConv2d")["kernel_shape"] == shape
    assert attributes(path, "QConv2d")["pads"] == pads


@pytest.mark.parametrize("padding", [((0, 1), (2, 0)), ((1, 0), (0, 2))])
def test_a_kernel_that_cannot_grow_gives_results_that_are_cut_off(tmp_path, padding):
    path = exported(tmp_path, lambda x: nn.Conv(8, (5, 5), padding=padding)(x), normal(3, 7, 9, 4))
    assert inner(path) == ["QConv2d", "Slice", "Slice"]


def test_a_zero_pad_of_the_model_goes_into_both_convolutions_behind_it(tmp_path):
    def function(x):
        x = jnp.pad(x, ((0, 0), (1, 1), (2, 2), (0, 0)))
        return nn.Conv(8, (3, 3), padding="VALID")(x) + nn.Conv(8, (3, 3), padding="VALID")(x)

    path = exported(tmp_path, function, normal(3, 6, 5, 4))
    assert operators(path) == ["Quant", "QConv2d", "QConv2d", "QAdd", "Dequant"]


def test_split_is_slices(tmp_path):
    def function(x):
        a, b = jnp.split(nn.Dense(8)(x), 2, -1)
        return a + b

    assert inner(exported(tmp_path, function, normal(5, 6, 4))) == ["QLinear", "Slice", "Slice", "QAdd"]


@pytest.mark.filterwarnings("ignore:clamps cut values:linger_jax.LingerWarning")
@pytest.mark.parametrize(
    ("layer", "shape", "image", "nodes"),
    [
        (lambda: nn.Conv(6, (3, 3)), (4, 6, 6, 3), True, ["QConv2d", "QBatchNorm2d", "Relu"]),
        (lambda: nn.Dense(9, use_bias=False), (16, 4), False, ["QLinear", "QAdd", "Relu"]),
    ],
)
def test_relu6_is_saturation(tmp_path, layer, shape, image, nodes):
    """Values beyond 6 are cut by the width of the integers: raised in the layer's bias, brought back, rectified."""
    clamps = {"clamp_activation_value": 8.0}
    path = exported(tmp_path, lambda x: nn.relu6(layer()(x)), 8 * normal(*shape), image=image, clamp_info=clamps)
    assert inner(path) == nodes


def test_relu6_of_what_others_read_too_is_raised_on_its_own(tmp_path):
    def function(x):
        x = nn.Conv(6, (3, 3))(x)
        return nn.relu6(x) + x

    path = exported(tmp_path, function, 4 * normal(4, 6, 6, 3))
    assert inner(path) == ["QConv2d", "QBatchNorm2d", "QBatchNorm2d", "Relu", "QAdd"]


NEAREST = {"a_calibrate_name": "top_10", "calibrate_exponent": "nearest"}


def addends(path):
    """The constants that a file adds, in steps of the result, with the three scales of each addition."""
    graph = onnx.load(path).graph
    values = {c.name: onnx.numpy_helper.to_array(c) for c in graph.initializer}
    found = []
    for node in (n for n in graph.node if n.op_type == "QAdd" and n.input[1] in values):
        a = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        assert values[node.input[1]].dtype == np.int8
        steps = values[node.input[1]] * (a["scale_o"] / a["scale_y"])
        found.append((steps, a["scale_x"], a["scale_y"], a["scale_o"]))
    return found


@pytest.mark.filterwarnings("ignore:clamps cut values:linger_jax.LingerWarning")
@pytest.mark.parametrize("platform", ["arcs", "venusA"])
@pytest.mark.parametrize(("clip", "parts"), [(8, 1), (None, 2)])
def test_relu6_is_lowered_by_constants_twice_as_fine_as_its_grid(tmp_path, platform, clip, parts):
    """Executors never return from adding a constant at the scale of everything else; one of 8 bits may need parts."""
    rows = 30 * (normal(1, 4) if platform == "venusA" else normal(1, 16, 4))
    config = {"platform": platform, "clamp_info": {"clamp_activation_value": clip}, "quant_info": NEAREST}
    path = exported(tmp_path, lambda x: nn.relu6(nn.Dense(64)(x)), rows, **config)
    added = addends(path)
    assert inner(path) == ["QLinear", *["QAdd"] * parts, "Relu"]
    (scale,) = {o for *_, o in added}
    assert [scales for _, *scales in added] == [[scale, 2 * scale, scale]] * parts
    np.testing.assert_array_equal(sum(steps for steps, *_ in added), 6 * scale - 127)
    assert linger_jax.check_onnx(path).ok


@pytest.mark.parametrize("platform", ["arcs", "venusA"])
@pytest.mark.filterwarnings("ignore:.*is clipped")
def test_a_constant_that_is_added_has_the_shape_of_the_sum(tmp_path, platform):
    row = np.linspace(-1, 1, 9, dtype=np.float32).reshape(1, 1, 9)
    for name, function in (
        ("behind", lambda x: x + row),
        ("in front", lambda x: row + x),
        ("half", lambda x: x + 0.5),
    ):
        path = exported(
            tmp_path, lambda x, f=function: f(nn.Dense(9)(x)), normal(1, 6, 8), platform=platform, image=False
        )
        ((steps, *_),) = addends(path)
        assert (name, steps.shape) == (name, (1, 6, 9))


def test_a_constant_stays_as_it_is_where_the_sum_is_coarser_than_its_operand(tmp_path):
    table = np.linspace(-3, 3, 54, dtype=np.float32).reshape(1, 6, 9)
    path = exported(tmp_path, lambda x: nn.Dense(9)(x) + table, normal(1, 6, 8), quant_info=NEAREST)
    ((_, x, y, o),) = addends(path)
    assert (x, y) == (2 * o, o)


@pytest.mark.parametrize("platform", ["arcs", "venusA"])
@pytest.mark.parametrize("axis", [1, 2, -1])
def test_softmax_is_along_the_last_axis_counted_from_behind(tmp_path, platform, axis):
    path = exported(
        tmp_path, lambda x: nn.softmax(nn.Dense(9)(x), axis=axis), normal(1, 6, 8), platform=platform, image=False
    )
    around = ["Transpose"] if axis == 1 else []
    reserved = ["GluInt"] if platform == "venusA" else []  # the packer plans too little scratch memory there
    assert inner(path) == [*ROWS[platform], *around, "QSoftmax", *around, *reserved]
    assert attributes(path, "QSoftmax")["axis"] == -1
    assert "function axis" not in {finding.check for finding in linger_jax.check_onnx(path).findings}


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_softmax_of_an_image_turns_three_axes(tmp_path, axis):
    path = exported(tmp_path, lambda x: nn.softmax(nn.Conv(6, (3, 3))(x), axis=axis), normal(1, 5, 4, 3))
    around = ["Reshape", "Transpose", "QSoftmax", "Transpose", "Reshape"]
    assert inner(path) == ["QConv2d", *(["QSoftmax"] if axis == 2 else around)]


def test_glu_is_along_the_last_axis(tmp_path):
    path = exported(tmp_path, lambda x: nn.glu(nn.Dense(9)(x), axis=1), normal(1, 6, 8), platform="venusA", image=False)
    assert inner(path) == [*ROWS["venusA"], "Transpose", "GluInt", "Transpose"]
    assert attributes(path, "GluInt")["dim"] == 2


@pytest.mark.filterwarnings("ignore::linger_jax.LingerWarning")
def test_relu6_of_more_bits_than_evaluation_keeps_stays_what_it_is(tmp_path):
    """What was raised would be rounded on the way."""
    wide = {"quant_info": {"activate_bits": 32}}
    path = exported(tmp_path, lambda x: nn.relu6(nn.Dense(9)(x)), 3 * normal(16, 4), strict=False, **wide)
    assert inner(path) == ["QLinear", "Clip"]


def test_relu6_that_nothing_exceeds_is_relu(tmp_path):
    assert inner(exported(tmp_path, lambda x: nn.relu6(nn.Dense(9)(x)), 0.1 * normal(16, 4))) == ["QLinear", "Relu"]


def attention(x):
    x = nn.Dense(16)(x)
    query, key, value = (nn.Dense(16)(x).reshape(*x.shape[:2], 4, 4) for _ in range(3))
    weights = nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", query, key) * 0.25)
    mixed = jnp.einsum("bhqk,bkhd->bqhd", weights, value)
    return nn.Dense(3)(nn.DenseGeneral(16, axis=(-2, -1))(mixed) + x)


@pytest.mark.parametrize("platform", ["arcs", "venusA"])
@pytest.mark.filterwarnings("ignore:.*is clipped")
def test_heads_are_the_one_leading_axis_of_products(tmp_path, platform):
    path = exported(tmp_path, attention, normal(32, 5, 6), platform=platform, image=False)
    model = onnx.load(path)
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.value_info}
    ranks = {op: {len(shapes[n.output[0]]) for n in model.graph.node if n.op_type == op} for op in operators(path)}
    assert ranks["QBmm"] == ranks["QSoftmax"] == ranks["Transpose"] == {3}
    assert platform != "arcs" or operators(path).count("Reshape") <= 5


@pytest.mark.parametrize("opset", [12, 17])
def test_newer_opsets_have_reshapes_for_axes(tmp_path, opset):
    path = exported(tmp_path, lambda x: nn.Dense(7)(x)[:, :, None], normal(5, 6, 4), opset=opset)
    assert inner(path) == ["QLinear", "Unsqueeze" if opset == 12 else "Reshape"]


def test_one_quant_stands_at_each_input(tmp_path):
    def function(x):
        y = x.reshape(x.shape[0], 2, 6)
        return nn.Dense(5)(nn.relu(y)) + nn.Dense(5)(y)

    path = exported(tmp_path, function, normal(20, 12))
    assert operators(path).count("Quant") in (1, 2)
    graph = onnx.load(path).graph
    assert {node.input[0] for node in graph.node if node.op_type == "Quant"} == {"inputs"}


class Recurrent(nn.Module):
    time_major: bool = False
    backwards: bool = False
    state: bool = False

    @nn.compact
    def __call__(self, x):
        layer = nn.RNN(
            nn.OptimizedLSTMCell(6),
            time_major=self.time_major,
            reverse=self.backwards,
            keep_order=self.backwards,
            return_carry=True,
        )
        (_, hidden), y = layer(x)
        return nn.Dense(3)(hidden if self.state else y)


def recurrent(tmp_path, x, **options):
    qmodel = linger_jax.init(Recurrent(**options), {"platform": "arcs"})
    variables = initialised(qmodel, x)
    variables = linger_jax.calibrate(qmodel, variables, [x], progress=False)
    one = x[:, :1] if options.get("time_major") else x[:1]
    path = linger_jax.export_onnx(qmodel, variables, one, tmp_path / "m.onnx")
    (got,) = linger_jax.OnnxRunner(path).run(np.asarray(one))
    expected = np.asarray(qmodel.apply(variables, one))
    np.testing.assert_array_equal(got, expected)
    assert np.unique(expected).size > 2
    return path


def test_lstm_has_its_time_where_the_executor_looks(tmp_path):
    path = recurrent(tmp_path, normal(8, 7, 5))
    assert attributes(path, "QLSTM")["batch_first"] == 0
    assert inner(path) == ["QLSTM", "QLinear"]


def test_time_major_sequences_are_reshaped(tmp_path):
    path = recurrent(tmp_path, normal(7, 8, 5), time_major=True)
    assert inner(path) == ["Reshape", "QLSTM", "Reshape", "QLinear"]


@pytest.mark.parametrize("backwards", [False, True])
def test_a_final_state_is_the_last_output(tmp_path, backwards):
    path = recurrent(tmp_path, normal(8, 7, 5), state=True, backwards=backwards)
    assert inner(path)[:2] == ["QLSTM", "Gather"]
    assert "QLinear" in inner(path)
    assert operators(path)[-1] == "Dequant"


@pytest.mark.parametrize("platform", ["arcs", "venusA"])
def test_rows_of_a_linear_layer_are_one_axis_or_points_of_a_plane(tmp_path, platform):
    path = exported(tmp_path, lambda x: nn.Dense(7)(x), normal(5, 2, 3, 4), platform=platform, image=False)
    turned = ["Reshape", *ROWS[platform], "Reshape"]
    assert inner(path) == (turned if platform == "arcs" else ["Reshape", "Transpose", *ROWS[platform][1:], "Reshape"])
    assert linger_jax.check_onnx(path).pack_options == []


def test_a_slice_of_two_axes_is_two_and_a_reversal_picks(tmp_path):
    path = exported(tmp_path, lambda x: nn.Dense(8)(x)[:, 1:, :5], normal(5, 6, 4))
    assert inner(path) == ["QLinear", "Slice", "Slice"]
    path = exported(tmp_path, lambda x: jnp.flip(nn.Dense(8)(x), 1)[..., ::3], normal(5, 6, 4))
    assert inner(path) == ["QLinear", "Gather", "Gather"]


@pytest.mark.parametrize(
    ("amounts", "blocks"),
    [(((0, 0), (0, 3), (0, 0)), [(1, 3, 4)]), (((0, 0), (2, 0), (1, 3)), [(1, 2, 4), (1, 7, 1), (1, 7, 3)])],
)
def test_a_pad_of_no_convolution_joins_blocks_of_zeros(tmp_path, amounts, blocks):
    def function(x):
        return nn.relu(nn.Dense(3)(jnp.pad(nn.Dense(4)(x), amounts)))

    path = exported(tmp_path, function, normal(3, 5, 6))
    assert "Pad" not in operators(path)
    constants = onnx.load(path).graph.initializer
    assert [tuple(c.dims) for c in constants if c.name.startswith("pad_0_")] == blocks


@pytest.mark.parametrize("operator", [jnp.add, jnp.multiply])
@pytest.mark.filterwarnings("ignore:.*is clipped")
def test_a_smaller_operand_is_repeated(tmp_path, operator):
    def function(x):
        return operator(nn.Dense(8)(x), nn.Dense(8)(x[:, :1]))

    path = exported(tmp_path, function, normal(5, 6, 4), quant_info={"calibrate_exponent": "least_error"})
    assert inner(path).count("Expand") == 1


def test_an_average_over_the_plane_has_stride_2_and_a_padding_behind(tmp_path):
    path = exported(tmp_path, lambda x: nn.Conv(8, (3, 3))(x).mean((1, 2)), normal(5, 5, 4, 3))
    assert attributes(path, "QAvgPool2d")["strides"] == [2, 2]
    assert attributes(path, "QAvgPool2d")["pads"] == [0, 0, 1, 1]


@pytest.mark.filterwarnings("ignore:.*is clipped")
def test_a_layer_that_is_used_twice_has_a_weight_for_each_bias(tmp_path):
    def function(x):
        layer = nn.Dense(4)
        return layer(16 * layer(x))

    graph = onnx.load(exported(tmp_path, function, normal(5, 4))).graph
    first, second = ([*n.input[1:]] for n in graph.node if n.op_type == "QLinear")
    assert (first[0] == second[0]) == (first[1] == second[1])
