"""The fast max pool against the stock operator: same values, same gradients, in every transformation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import NamedSharding, PartitionSpec

from linger_jax.numerics.pooling.max_pool import LARGEST_WINDOW, max_pool


def pool(x, taps, strides, padding, dilation=None, base_dilation=None, *, fast):
    """Pools the inner axes of an [N, ..., C] array."""
    ones = (1,) * len(taps)
    edge = [(0, 0)]
    return max_pool(
        x,
        (1, *taps, 1),
        (1, *strides, 1),
        [*edge, *padding, *edge],
        (1, *(base_dilation or ones), 1),
        (1, *(dilation or ones), 1),
        fast=fast,
    )


def value_and_gradient(x, g, *args, fast):
    value, backward = jax.vjp(lambda x: pool(x, *args, fast=fast), x)
    return value, backward(g)[0]


def assert_same(x, *args, jit=False):
    shape = jax.eval_shape(lambda x: pool(x, *args, fast=False), x).shape
    g = jax.device_put(np.random.default_rng(1).normal(size=shape).astype(x.dtype))
    run = jax.jit(value_and_gradient, static_argnames="fast", static_argnums=(2, 3, 4)) if jit else value_and_gradient
    expected = run(x, g, *args, fast=False)
    actual = run(x, g, *args, fast=True)
    for a, e in zip(actual, expected, strict=True):
        assert a.dtype == e.dtype
        np.testing.assert_array_equal(np.asarray(a, np.float32), np.asarray(e, np.float32))


def grid(shape, *, levels=4, seed=0):
    """Few levels, so that most windows hold several equal maxima."""
    return jax.device_put(np.float32(np.random.default_rng(seed).integers(-levels, levels, shape)))


@st.composite
def windows(draw):
    rank = draw(st.integers(1, 2))
    padding = st.tuples(st.integers(0, 3), st.integers(0, 3))
    axis = st.tuples(st.integers(1, 4), st.integers(1, 4), padding)
    axes = draw(st.lists(axis, min_size=rank, max_size=rank))
    sizes = tuple(draw(st.integers(max(1, taps - low - high), 9)) for taps, _, (low, high) in axes)
    return sizes, *zip(*axes, strict=True)


@settings(max_examples=25)
@given(windows(), st.integers(0, 99))
def test_any_window_gives_the_stock_value_and_gradient(window, seed):
    sizes, *args = window
    assert_same(grid((2, *sizes, 3), seed=seed), *args, jit=True)


@pytest.mark.parametrize(
    "args",
    [
        ((2, 2), (2, 2), ((0, 0), (0, 0))),
        ((3, 3), (2, 2), ((1, 1), (1, 1))),
        ((3, 2), (1, 3), ((2, 0), (0, 1))),
    ],
)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_nan_and_infinities_go_where_the_stock_gradient_sends_them(args, dtype):
    values = np.random.default_rng(3).choice([np.nan, -np.inf, np.inf, 0.0, 1.0], size=(4, 9, 8, 5))
    assert_same(jnp.asarray(values, dtype), *args, jit=True)


def test_the_first_of_equal_maxima_takes_the_whole_gradient():
    gradient = jax.grad(lambda x: 3.0 * pool(x, (2, 2), (2, 2), ((0, 0), (0, 0)), fast=True).sum())
    np.testing.assert_array_equal(gradient(jnp.ones((1, 2, 2, 1)))[0, :, :, 0], [[3.0, 0.0], [0.0, 0.0]])


def test_first_axis_and_channels_can_be_pooled_too():
    x = grid((5, 4, 6))
    ones = (1, 1, 1)
    for fast in (False, True):
        y = max_pool(x, (2, 1, 3), (2, 1, 2), ((0, 1), (0, 0), (1, 0)), ones, ones, fast=fast)
        gradient = jax.grad(
            lambda x, fast=fast: (
                max_pool(x, (2, 1, 3), (2, 1, 2), ((0, 1), (0, 0), (1, 0)), ones, ones, fast=fast) ** 2
            ).sum()
        )(x)
        if not fast:
            expected = y, gradient
    np.testing.assert_array_equal(y, expected[0])
    np.testing.assert_array_equal(gradient, expected[1])


POOLED = ((2, 2), (2, 2), ((0, 0), (0, 0)))
OVERLAPPING = ((3, 3), (2, 2), ((1, 1), (1, 1)))


@pytest.mark.parametrize("args", [POOLED, OVERLAPPING])
def test_vmap_scan_and_remat(args):
    x = grid((3, 2, 8, 8, 4))

    def losses(fast):
        def loss(x):
            return (pool(x, *args, fast=fast) ** 2).sum()

        def step(total, x):
            return total + jax.checkpoint(loss)(x), None

        return [
            jax.vmap(jax.value_and_grad(loss))(x),
            jax.value_and_grad(lambda x: jax.lax.scan(step, jnp.float32(0), x)[0])(x),
            jax.jit(jax.value_and_grad(jax.checkpoint(loss)))(x[0]),
        ]

    jax.tree.map(np.testing.assert_array_equal, losses(True), losses(False))


@pytest.mark.parametrize("args", [POOLED, OVERLAPPING])
def test_a_batch_split_over_devices_needs_no_communication(args):
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    x = grid((4, 8, 8, 4))
    split = jax.device_put(x, NamedSharding(mesh, PartitionSpec("batch")))

    def gradient(x):
        return jax.grad(lambda x: (pool(x, *args, fast=True) ** 2).sum())(x)

    compiled = jax.jit(gradient).lower(split).compile()
    assert not any(word in compiled.as_text() for word in ("all-gather", "all-reduce", "all-to-all", "collective"))
    np.testing.assert_array_equal(compiled(split), gradient(x))


@pytest.mark.parametrize("args", [POOLED, OVERLAPPING])
def test_the_compiled_program_holds_one_branch_and_no_element_loop(args):
    x = grid((2, 8, 8, 4))
    program = jax.jit(jax.grad(lambda x: pool(x, *args, fast=True).sum())).lower(x).compile().as_text()
    assert " scatter(" not in program
    assert " conditional(" not in program


def test_what_the_fast_way_does_not_cover_is_the_stock_operator():
    large = LARGEST_WINDOW + 1
    cases = [
        (grid((1, 8, 8, 1)), (2, 2), (2, 2), ((0, 0), (0, 0)), {"dilation": (2, 2)}),
        (grid((1, 8, 8, 1)), (2, 2), (2, 2), ((0, 0), (0, 0)), {"base_dilation": (2, 2)}),
        (grid((1, 8, 8, 1)), (2, 2), (2, 2), ((-1, 0), (0, 0)), {}),
        (grid((1, large, 1, 1)), (large, 1), (1, 1), ((0, 0), (0, 0)), {}),
        (jnp.arange(64).reshape(1, 8, 8, 1), (2, 2), (2, 2), ((0, 0), (0, 0)), {}),
    ]
    for x, *args, dilations in cases:
        programs = [str(jax.make_jaxpr(lambda x, f=f: pool(x, *args, fast=f, **dilations))(x)) for f in (True, False)]  # noqa: B023
        assert programs[0] == programs[1]
        assert "custom_vjp" not in programs[0]
