"""The fast convolution against the stock operator: same values, same gradients, in every transformation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from linger_jax.numerics.convolution import conv
from linger_jax.numerics.convolution import convolution_lowerings as lowerings
from linger_jax.numerics.convolution.convolution_shape import ConvShape, channels_last
from linger_jax.numerics.convolution.lowering_rules import (
    Lowering,
    forward_rule,
    groups_per_block,
    input_gradient_rule,
    weight_gradient_rule,
)


def numbers(shape, *, seed=0):
    """Eighths between -2 and 2: every sum of products below is exact in float32, in any order."""
    return jax.device_put(np.float32(np.random.default_rng(seed).integers(-16, 17, shape) / 8))


def operands(shape):
    return numbers(shape.x), numbers(shape.w, seed=1), numbers(shape.output, seed=2)


def make(size, channels, taps, *, batch=2, strides=1, padding=0, dilation=1, groups=1):
    """A convolution over len(size) axes; strides, padding and dilation may be given per axis."""
    rank = len(size)

    def per_axis(value):
        return tuple(value) if isinstance(value, (tuple, list)) else (value,) * rank

    pads = tuple(pad if isinstance(pad, tuple) else (pad, pad) for pad in per_axis(padding))
    inputs, outputs = channels
    return ConvShape(
        x=(batch, *size, inputs),
        w=(*per_axis(taps), inputs // groups, outputs),
        strides=per_axis(strides),
        padding=pads,
        dilation=per_axis(dilation),
        groups=groups,
    )


def run(shape, x, w, *, fast):
    return conv(
        x,
        w,
        window_strides=shape.strides,
        padding=shape.padding,
        lhs_dilation=(1,) * len(shape.strides),
        rhs_dilation=shape.dilation,
        feature_group_count=shape.groups,
        dimension_numbers=channels_last(x.ndim),
        precision=shape.precision,
        fast=fast,
    )


def value_and_gradients(shape, x, w, g, *, fast):
    value, backward = jax.vjp(lambda x, w: run(shape, x, w, fast=fast), x, w)
    return value, *backward(g)


def expected_value_and_gradients(shape, x, w, g):
    """The stock operator on an input padded beforehand: its own gradient is wrong where windows lie in the padding."""

    def padded(x, w):
        return shape.without_padding().stock(shape.windows.pad(x, 0.0), w)

    value, backward = jax.vjp(padded, x, w)
    return value, *backward(g)


def assert_same(shape):
    def both(*args):
        return value_and_gradients(shape, *args, fast=True), expected_value_and_gradients(shape, *args)

    for actual, expected in zip(*jax.jit(both)(*operands(shape)), strict=True):
        assert actual.dtype == expected.dtype
        np.testing.assert_array_equal(actual, expected)


POINTWISE = make((5, 6), (8, 6), 1)
POINTWISE_STRIDED = make((5, 6), (4, 6), 1, strides=2, padding=((1, 0), (0, 2)))
ODD = make((6, 5), (3, 20), 3, padding=1)
NARROW = make((6, 5), (3, 8), 3, padding=((0, 2), (1, 1)), strides=(2, 1))
NARROW_1D = make((9,), (1, 4), 5, dilation=2, padding=3)
NARROW_3D = make((4, 3, 4), (2, 3), 2)
DEPTHWISE = make((6, 5), (6, 6), 3, padding=1, groups=6)
DEPTHWISE_STRIDED = make((7, 6), (6, 6), (3, 2), strides=(2, 3), padding=((0, 1), (2, 0)), dilation=(2, 1), groups=6)
GROUPED = make((5, 5), (24, 48), 3, padding=1, groups=4)
GROUPED_POINTWISE = make((5, 5), (24, 12), 1, groups=3)
MANY_GROUPS = make((4,), (64, 128), 3, groups=32)
OVERHANGING = make((4,), (8, 8), 2, padding=((2, 0),))
OVERHANGING_GROUPS = make((1,), (8, 8), 2, padding=((2, 0),), groups=2)
MULTIPLIED = make((5, 5), (6, 12), 3, strides=2, groups=6)
EACH_LOWERING = {
    name: shape for name, shape in globals().items() if isinstance(shape, ConvShape) and name != "EACH_LOWERING"
}


@pytest.mark.parametrize("shape", EACH_LOWERING.values(), ids=EACH_LOWERING)
def test_values_and_gradients_are_the_stock_ones(shape):
    assert_same(shape)


def test_the_shapes_above_reach_every_lowering():
    assert {forward_rule(shape) for shape in EACH_LOWERING.values()} == set(lowerings.FORWARD)
    assert {input_gradient_rule(shape) for shape in EACH_LOWERING.values()} == set(lowerings.INPUT_GRADIENT)
    assert {weight_gradient_rule(shape) for shape in EACH_LOWERING.values()} == set(lowerings.WEIGHT_GRADIENT)


@st.composite
def shapes(draw):
    rank = draw(st.integers(1, 2))
    groups = draw(st.sampled_from([1, 1, 2, 3, 8]))
    channels = [groups * draw(st.sampled_from([1, 1, 2, 3, 5])) for _ in range(2)]
    axis = st.tuples(
        st.integers(1, 4), st.integers(1, 3), st.tuples(st.integers(0, 3), st.integers(0, 3)), st.integers(1, 2)
    )
    taps, strides, padding, dilation = zip(*draw(st.lists(axis, min_size=rank, max_size=rank)), strict=True)
    smallest = [(k - 1) * d + 1 - low - high for k, (low, high), d in zip(taps, padding, dilation, strict=True)]
    size = [draw(st.integers(max(1, least), 8)) for least in smallest]
    return make(size, channels, taps, strides=strides, padding=padding, dilation=dilation, groups=groups)


@settings(max_examples=25)
@given(shapes())
def test_any_shape_gives_the_stock_value_and_gradients(shape):
    assert_same(shape)


@settings(max_examples=15)
@given(shapes())
def test_every_lowering_that_could_be_chosen_gives_the_same(shape):
    x, w, g = operands(shape)
    ungrouped = {Lowering.PATCHES, Lowering.STOCK}
    ungrouped |= {Lowering.POINTWISE} if shape.taps == 1 else set()
    ungrouped |= {Lowering.EVEN_CHANNELS}
    grouped = {Lowering.GROUP_BLOCKS, Lowering.STOCK} | ({Lowering.DEPTHWISE} if shape.depthwise else set())
    possible = grouped if shape.groups > 1 else ungrouped
    for table, args in (
        (lowerings.FORWARD, (x, w)),
        (lowerings.INPUT_GRADIENT, (w, g)),
        (lowerings.WEIGHT_GRADIENT, (x, g)),
    ):
        expected = jax.jit(table[Lowering.STOCK], static_argnums=0)(shape, *args)
        for lowering in possible & set(table):
            np.testing.assert_array_equal(jax.jit(table[lowering], static_argnums=0)(shape, *args), expected)


def test_gradients_of_real_valued_data_agree_to_rounding():
    shape = make((16, 16), (3, 32), 3, padding=1, batch=8)
    random = np.random.default_rng(0)
    x, w, g = (jax.device_put(np.float32(random.normal(size=each.shape))) for each in operands(shape))
    for actual, expected in zip(*[value_and_gradients(shape, x, w, g, fast=f) for f in (True, False)], strict=True):
        np.testing.assert_allclose(actual, expected, atol=2e-5 * float(jnp.abs(expected).max()))


TRANSFORMED = [ODD, NARROW, DEPTHWISE_STRIDED, GROUPED, POINTWISE_STRIDED]
NAMES = ["odd", "narrow", "depthwise", "grouped", "pointwise"]


@pytest.mark.parametrize("shape", TRANSFORMED, ids=NAMES)
def test_vmap_scan_and_remat(shape):
    x = numbers((3, *shape.x))
    w = numbers(shape.w, seed=1)

    def losses(fast):
        def loss(x, w):
            return (run(shape, x, w, fast=fast) * 0.125).sum()

        def step(total, x):
            return total + jax.checkpoint(loss)(x, w), None

        return [
            jax.vmap(jax.value_and_grad(loss, (0, 1)), (0, None))(x, w),
            jax.value_and_grad(lambda x: lax.scan(step, jnp.float32(0), x)[0])(x),
            jax.jit(jax.value_and_grad(jax.checkpoint(loss), (0, 1)))(x[0], w),
        ]

    jax.tree.map(np.testing.assert_array_equal, losses(True), losses(False))


@pytest.mark.parametrize("shape", TRANSFORMED, ids=NAMES)
def test_a_batch_split_over_devices_is_only_reduced(shape):
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    x, w, g = operands(shape)
    rows = NamedSharding(mesh, PartitionSpec("batch"))
    split = jax.device_put(x, rows), w, jax.device_put(g, rows)

    def gradients(x, w, g):
        return value_and_gradients(shape, x, w, g, fast=True)

    compiled = (
        jax.jit(gradients, out_shardings=(rows, rows, NamedSharding(mesh, PartitionSpec()))).lower(*split).compile()
    )
    assert not any(word in compiled.as_text() for word in ("all-gather", "all-to-all", "collective-permute"))
    jax.tree.map(np.testing.assert_array_equal, compiled(*split), gradients(x, w, g))


@pytest.mark.parametrize("shape", TRANSFORMED, ids=NAMES)
def test_the_compiled_program_holds_one_branch(shape):
    program = jax.jit(lambda *args: value_and_gradients(shape, *args, fast=True)).lower(*operands(shape)).compile()
    assert " conditional(" not in program.as_text()
    assert "feature_group_count" not in program.as_text()


def test_other_platforms_run_the_stock_operator():
    x, w, _ = operands(GROUPED)
    exported = {
        fast: jax.export.export(jax.jit(lambda x, w, f=fast: run(GROUPED, x, w, fast=f)), platforms=["cuda"])(x, w)
        for fast in (True, False)
    }
    counts = {fast: module.mlir_module().count("stablehlo.convolution") for fast, module in exported.items()}
    assert counts == {True: 1, False: 1}
    assert "feature_group_count = 4" in exported[True].mlir_module()


@pytest.mark.parametrize(
    "options",
    [
        {"fast": False},
        {"lhs_dilation": (2, 2)},
        {"padding": ((-1, 0), (1, 1))},
        {"dimension_numbers": ("NCHW", "OIHW", "NCHW")},
    ],
    ids=lambda options: next(iter(options)),
)
def test_what_the_rules_do_not_cover_is_the_stock_operator(options):
    x, w = numbers((2, 6, 6, 6)), numbers((6, 6, 1, 1) if "dimension_numbers" in options else (1, 1, 6, 6))
    arguments = {
        "window_strides": (1, 1),
        "padding": "SAME" if "lhs_dilation" not in options else ((0, 0), (0, 0)),
        "dimension_numbers": ("NHWC", "HWIO", "NHWC"),
        "fast": True,
    }
    arguments |= options
    ours = str(jax.make_jaxpr(lambda x, w: conv(x, w, **arguments))(x, w))
    del arguments["fast"]
    assert ours == str(jax.make_jaxpr(lambda x, w: lax.conv_general_dilated(x, w, **arguments))(x, w))


def test_half_precision_is_left_to_the_stock_operator():
    x, w = numbers((2, 6, 6, 6)).astype(jnp.bfloat16), numbers((1, 1, 6, 6)).astype(jnp.bfloat16)
    options = {"window_strides": (1, 1), "padding": "VALID", "dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    program = jax.make_jaxpr(lambda x, w: conv(x, w, **options, fast=True))(x, w)
    assert "custom_vjp" not in str(program)


@pytest.mark.parametrize("padding", ["SAME", "SAME_LOWER", "VALID"])
def test_padding_may_be_named(padding):
    x, w = numbers((2, 7, 6, 3)), numbers((4, 3, 3, 5), seed=1)
    options = {"window_strides": (2, 1), "padding": padding, "dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    np.testing.assert_array_equal(conv(x, w, **options, fast=True), lax.conv_general_dilated(x, w, **options))


@pytest.mark.parametrize("groups", [1, 2, 3, 8, 32, 96])
@pytest.mark.parametrize("width", [1, 2, 16, 24])
def test_groups_are_merged_into_few_wide_blocks(groups, width):
    shape = make((4, 4), (groups * width, groups), 1, groups=groups)
    merged = groups_per_block(shape)
    assert groups % merged == 0
    assert merged == groups or merged * width >= 16
    assert groups // merged <= 16
