"""Limits of single operators that were measured on the executor: files on both sides of each.

Source: docs/specification/executor.md sections 2 and 3.
"""

import numpy as np
import onnx
import pytest
from onnx import helper

import linger_jax
from tests.export.lint.files import File

BOTH = pytest.mark.parametrize("platform", ["arcs", "venusA"])
SHAPE = (1, 6, 8)


def found(model, check):
    return [(f.severity.value, f.found, f.edit) for f in linger_jax.check_onnx(model).findings if f.check == check]


def of_two(platform, op, one, other, *, constant=False):
    file = File(platform)
    x = file.input(one)
    y = file.constant(np.ones(other, np.int8)) if constant else file.input(other)
    return file.done(file.both(op, x, y))


@BOTH
@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize(
    ("op", "other", "edits"),
    [
        ("QAdd", (1, 6, 8), []),
        ("QAdd", (1, 1, 8), ["operands_of_one_shape"]),
        ("QMul", (1, 6, 8), []),
        ("QMul", (1, 6, 1), ["operands_of_one_shape"]),
        ("QMul", (8,), ["operands_of_one_shape"]),
    ],
)
def test_sums_and_products_want_operands_of_one_shape(platform, op, other, edits, constant):
    assert [edit for _, _, edit in found(of_two(platform, op, SHAPE, other, constant=constant), "broadcast")] == edits


@BOTH
@pytest.mark.parametrize(("other", "constant"), [((), True), ((1, 4, 1, 1), True), ((1, 4, 1, 1), False)])
def test_a_product_repeats_a_number_and_one_for_each_channel(platform, other, constant):
    assert found(of_two(platform, "QMul", (1, 4, 5, 6), other, constant=constant), "broadcast") == []


@BOTH
@pytest.mark.parametrize(("scale", "wrong"), [(1024.0, False), (2048.0, True)])
def test_nothing_shifts_left_behind_a_product(platform, scale, wrong):
    """``scale_x`` is 16 and ``scale_w`` 64."""
    file = File(platform)
    assert bool(found(file.done(file.linear(file.input((1, 8)), scale_o=scale), scale), "product scale")) == wrong
    file = File(platform)
    assert bool(found(file.done(file.conv(file.input((1, 4, 5, 5)), scale_o=scale), scale), "product scale")) == wrong


@BOTH
@pytest.mark.parametrize(("coarse", "wrong"), [(4.0, False), (2.0, True)])
def test_a_concatenation_shifts_an_operand_by_six_bits_at_most(platform, coarse, wrong):
    file = File(platform)
    scales = {"scale_x_0": coarse, "scale_x_1": 256.0, "x_0_bits": 8, "x_1_bits": 8}
    x, y = file.linear(file.input(SHAPE), scale_o=coarse), file.linear(file.input(SHAPE), scale_o=256.0)
    model = file.done(file.quantized("QCat", [x, y], axis=2, scale_o=256.0, **scales), 256.0)
    assert bool(found(model, "concatenation shift")) == wrong


@BOTH
@pytest.mark.parametrize(
    ("axes", "steps", "count"), [([2], [1], 0), ([2], [2], 1), ([2], [-1], 1), ([1, 2], [1, 1], 1), ([1, 2], [2, 1], 2)]
)
def test_a_slice_has_one_axis_and_no_step(platform, axes, steps, count):
    file = File(platform)
    bounds = [[0] * len(axes), [4] * len(axes), axes, steps]
    constants = [file.constant(np.asarray(values)) for values in bounds]
    model = file.done(file.node("Slice", [file.linear(file.input(SHAPE)), *constants], standard=True))
    assert [edit for _, _, edit in found(model, "slice")] == ["one_axis_a_slice"] * count


@BOTH
@pytest.mark.parametrize(("index", "wrong"), [([5, 0], False), ([-1], False), ([-2], True)])
def test_an_index_counts_from_the_front_or_is_the_last(platform, index, wrong):
    file = File(platform)
    x = [file.linear(file.input(SHAPE)), file.constant(np.asarray(index))]
    assert bool(found(file.done(file.node("Gather", x, standard=True, axis=1)), "index")) == wrong


@pytest.mark.parametrize(("dilation", "edits"), [(1, []), (2, ["one_dimension_as_two"]), (3, [""])])
def test_a_sequence_has_no_dilation(dilation, edits):
    file = File("arcs")
    model = file.done(file.conv(file.input((1, 4, 24)), (3,), dilation=dilation))
    assert [edit for _, _, edit in found(model, "dilation")] == edits


@BOTH
@pytest.mark.parametrize(
    ("channels", "side", "checks"),
    [(4, 2, []), (16, 5, []), (4, 4, ["pool of the plane"]), (2, 5, ["pool of the plane", "pool workspace"])],
)
def test_an_average_over_a_plane_that_is_large_beside_the_channels_differs(platform, channels, side, checks):
    file = File(platform)
    x = file.conv(file.input((1, channels, side, side)), channels=channels, features=channels)
    report = linger_jax.check_onnx(file.done(file.pool(x, (side, side), (side, side))))
    assert [f.check for f in report.findings] == checks


@BOTH
@pytest.mark.parametrize(("op", "bits", "wrong"), [("linear", 32, False), ("linear", 16, True), ("conv", 32, True)])
def test_results_wider_than_eight_bits(platform, op, bits, wrong):
    file = File(platform)
    x = file.input((1, 8) if op == "linear" else (1, 4, 5, 5))
    assert bool(found(file.done(getattr(file, op)(x, o_bits=bits)), "output width")) == wrong


def test_several_rows_of_32_bits_differ_where_rows_are_turned():
    for platform, wrong in (("arcs", False), ("venusA", True)):
        file = File(platform)
        report = linger_jax.check_onnx(file.done(file.linear(file.input(SHAPE), o_bits=32)))
        assert bool(report.blocking) == wrong


@BOTH
@pytest.mark.parametrize(("rank", "wrong"), [(2, False), (3, False), (4, True)])
def test_a_linear_layer_has_two_or_three_axes(platform, rank, wrong):
    file = File(platform)
    assert bool(found(file.done(file.linear(file.input((*[1] * (rank - 1), 8)))), "rank")) == wrong


@BOTH
@pytest.mark.parametrize("own", [False, True])
def test_an_addend_belongs_to_one_addition(platform, own):
    file = File(platform)
    first = file.constant(np.ones((1, 8), np.int8))
    second = file.constant(np.ones((1, 8), np.int8)) if own else first
    x = file.quantized("QAdd", [file.input((1, 8)), first], scale_y=32.0, y_bits=8)
    model = file.done(file.quantized("QAdd", [x, second], scale_y=32.0, y_bits=8))
    assert [edit for _, _, edit in found(model, "shared addend")] == ([] if own else ["an_addend_a_node"])


@BOTH
@pytest.mark.parametrize("same", [False, True])
def test_a_weight_belongs_to_one_bias(platform, same):
    file = File(platform)
    weight, bias = file.constant(np.ones((8, 8), np.int8)), file.constant(np.ones(8, np.int32))
    other = bias if same else file.constant(np.full(8, 2, np.int32))
    x = file.quantized("QLinear", [file.input((1, 8)), weight, bias], w_bits=8, scale_w=64.0)
    model = file.done(file.quantized("QLinear", [x, weight, other], w_bits=8, scale_w=64.0))
    assert [edit for _, _, edit in found(model, "shared weight")] == ([] if same else ["a_weight_a_node"])


@BOTH
def test_an_input_is_quantized_for_all_its_readers(platform):
    file = File(platform)
    model = file.done(file.linear(file.input((1, 8), name="x")))
    assert found(model, "float reader") == []
    read = helper.make_node("Flatten", ["x"], ["floats"], "Flatten_floats")
    model.graph.node.append(read)
    model.graph.output.append(helper.make_tensor_value_info("floats", onnx.TensorProto.FLOAT, None))
    assert [severity for severity, _, _ in found(model, "float reader")] == ["differs"]


@BOTH
def test_a_quant_stands_at_a_graph_input(platform):
    file = File(platform)
    model = file.done(file.linear(file.input((1, 8), name="x")))
    model.graph.node.insert(0, helper.make_node("Flatten", ["x"], ["floats"], "Flatten_floats"))
    model.graph.node[1].input[0] = "floats"
    assert [severity for severity, _, _ in found(model, "float reader")] == ["differs"]


@pytest.mark.parametrize(
    ("platform", "changed", "finding"),
    [
        ("arcs", {}, None),
        ("venusA", {}, None),
        ("venus", {}, "QGRU"),
        ("arcs", {"batch_first": 0}, "data [1, 5, 4], batch_first 0"),
        ("arcs", {"go_forward": 0}, "a sequence that is read backwards"),
        ("arcs", {"w_bits": 4}, "widths 8, 4, 8"),
        ("arcs", {"gates_first": True}, "QGRU"),
    ],
)
def test_a_gru_is_that_of_the_executor(platform, changed, finding):
    file, changed = File(platform), dict(changed)
    shapes = [(18, 4), (18, 6)] if changed.pop("gates_first", False) else [(4, 18), (6, 18)]
    inputs = [file.constant(np.ones(shape, np.int8)) for shape in shapes]
    inputs += [file.constant(np.ones(18, np.int32)) for _ in range(2)]
    attributes = {"batch_first": 1, "go_forward": 1, "hidden_size": 6, "w_bits": 8, "scale_o": 256.0, **changed}
    attributes |= {"scale_iw": 2.0**-9, "scale_hw": 2.0**-9, "scale_h": 256.0}
    y = file.quantized("QGRU", [file.input((1, 5, 4)), *inputs], **attributes)
    told = [text.removeprefix("linger::") for _, text, _ in found(file.done(y), "gru")]
    assert told == ([] if finding is None else [finding])
