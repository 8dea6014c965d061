"""Exact contractions and convolutions against numpy's 64-bit integers."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linger_jax.numerics import int64
from linger_jax.numerics.convolution.integer_convolution import convolution
from linger_jax.numerics.products.integer_contraction import contraction, matmul

WIDTHS = st.sampled_from([(8, 8), (8, 4), (16, 8), (8, 16), (16, 16)])


def computed_with(product, x, y, constant):
    """A product whose second operand is an array of the host, or an argument of the program."""
    x = jnp.asarray(x, jnp.int32)
    if constant:
        return computed(lambda x: product(x, y.astype(np.int16)), x)
    return computed(product, x, jnp.asarray(y, jnp.int32))


def integers(rng, shape, bits):
    """Full range, with the extremes more often than chance has them."""
    least, most = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    values = rng.integers(least, most, shape, endpoint=True)
    return np.where(rng.random(shape) < 0.3, rng.choice([least, most], shape), values)


def computed(function, *operands):
    """The integers of an exact sum, compiled; its bound holds."""
    bounds = []

    def run(*operands):
        total = function(*operands)
        bounds.append(total.most)
        return total.value

    with int64.region():
        value = np.asarray(jax.jit(run)(*operands))
    assert max(map(abs, value.reshape(-1).tolist()), default=0) <= bounds[0]
    return value


@settings(max_examples=20)
@given(
    WIDTHS,
    st.sampled_from(["mk,kn", "mk,nk", "bmk,kn", "bmk,bkn", "mkl,kln", "mlk,nkl", "k,k"]),
    st.sampled_from([1, 3, 40, 700]),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_contractions_are_exact(widths, equation, terms, constant, seed):
    rng = np.random.default_rng(seed)
    sizes = {"b": 2, "m": 3, "n": 5, "k": terms, "l": 2}
    left, right = equation.split(",")
    x = integers(rng, [sizes[c] for c in left], widths[0])
    y = integers(rng, [sizes[c] for c in right], widths[1])
    batch = [c for c in left if c in right and c == "b"]
    summed = [c for c in left if c in right and c != "b"]
    dimensions = (
        ([left.index(c) for c in summed], [right.index(c) for c in summed]),
        ([left.index(c) for c in batch], [right.index(c) for c in batch]),
    )
    free = [c for c in left + right if (c in left) != (c in right)]
    expected = np.einsum(f"{equation}->{''.join(batch + free)}", x, y)
    product = partial(contraction, dimension_numbers=dimensions, x_bits=widths[0], y_bits=widths[1])
    np.testing.assert_array_equal(computed_with(product, x, y, constant), expected)


@pytest.mark.parametrize(
    "shapes", [((3, 4), (4, 2)), ((2, 3, 4), (2, 4, 2)), ((2, 1, 3, 4), (5, 4, 2)), ((4,), (4, 2))]
)
def test_matrix_products_broadcast_their_batches(shapes):
    rng = np.random.default_rng(0)
    x, y = (integers(rng, shape, 8) for shape in shapes)
    np.testing.assert_array_equal(computed_with(partial(matmul, x_bits=8, y_bits=8), x, y, False), x @ y)


def slow_convolution(x, w, strides, padding, lhs_dilation, rhs_dilation, groups):
    """[N, H, W, C] and [KH, KW, C / groups, O], one output at a time."""
    n, *plane, c = x.shape
    spread = np.zeros((n, *((s - 1) * d + 1 for s, d in zip(plane, lhs_dilation, strict=True)), c), np.int64)
    spread[:, :: lhs_dilation[0], :: lhs_dilation[1]] = x
    spread = np.pad(spread, [(0, 0), *padding, (0, 0)])
    reach = [(k - 1) * d + 1 for k, d in zip(w.shape[:2], rhs_dilation, strict=True)]
    out = [(s - r) // step + 1 for s, r, step in zip(spread.shape[1:3], reach, strides, strict=True)]
    y = np.zeros((n, *out, w.shape[3]), np.int64)
    per_group, features = w.shape[2], w.shape[3] // groups
    for i, j, g in itertools.product(range(out[0]), range(out[1]), range(groups)):
        top, left = i * strides[0], j * strides[1]
        window = spread[:, top : top + reach[0] : rhs_dilation[0], left : left + reach[1] : rhs_dilation[1]]
        window = window[..., g * per_group : (g + 1) * per_group]
        kernel = w[..., g * features : (g + 1) * features]
        y[:, i, j, g * features : (g + 1) * features] = np.einsum("nabc,abco->no", window, kernel)
    return y


@settings(max_examples=20)
@given(
    WIDTHS,
    st.sampled_from([(1, 3, 4), (2, 2, 2), (4, 1, 1), (4, 1, 2), (1, 200, 3), (3, 70, 1)]),
    st.sampled_from([(1, 1), (3, 2), (5, 5)]),
    st.sampled_from([(1, 1), (2, 1), (2, 2)]),
    st.sampled_from(["plain", "dilated", "transposed"]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_convolutions_are_exact(widths, channels, taps, strides, kind, channels_first, constant, seed):
    rng = np.random.default_rng(seed)
    groups, per_group, features = channels
    x = integers(rng, (2, 7, 6, groups * per_group), widths[0])
    w = integers(rng, (*taps, per_group, groups * features), widths[1])
    lhs = strides if kind == "transposed" else (1, 1)
    steps = (1, 1) if kind == "transposed" else strides
    rhs = (2, 1) if kind == "dilated" else (1, 1)
    padding = [(taps[0] // 2, taps[0] // 2 + 2), (taps[1], 1)]
    expected = slow_convolution(x, w, steps, padding, lhs, rhs, groups)
    layout = ("NHWC", "HWIO", "NHWC")
    if channels_first:
        layout = ("NCHW", "OIHW", "NCHW")
        x, w, expected = x.transpose(0, 3, 1, 2), w.transpose(3, 2, 0, 1), expected.transpose(0, 3, 1, 2)
    product = partial(
        convolution,
        window_strides=steps,
        padding=padding,
        lhs_dilation=lhs,
        rhs_dilation=rhs,
        feature_group_count=groups,
        dimension_numbers=layout,
        x_bits=widths[0],
        w_bits=widths[1],
    )
    np.testing.assert_array_equal(computed_with(product, x, w, constant), expected)


def test_a_window_of_more_than_a_piece_is_exact():
    """One channel of 1,200 taps passes 2^24 by itself."""
    x, w = np.full((1, 1, 1300, 1), -128), np.full((1, 1200, 1, 1), -128)
    x[0, 0, 0], w[0, 0] = 1, 1
    product = partial(
        convolution,
        window_strides=(1, 1),
        padding=[(0, 0), (0, 0)],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        x_bits=8,
        w_bits=8,
    )
    assert computed_with(product, x, w, False)[0, 0, 0, 0] == 1199 * 2**14 + 1 > 2**24


def test_eight_bit_contractions_are_integer_products():
    """int8 operands and an int32 sum, without float32 between."""
    x, y = jnp.zeros((2, 4096), jnp.int32), jnp.zeros((4096, 3), jnp.int32)
    jaxpr = jax.make_jaxpr(lambda x, y: contraction(x, y, (((1,), (0,)), ((), ())), x_bits=8, y_bits=8).value)(x, y)
    (product,) = (eqn for eqn in jaxpr.eqns if eqn.primitive.name == "dot_general")
    assert [v.aval.dtype for v in product.invars] == [np.int8, np.int8]
    assert product.outvars[0].aval.dtype == np.int32
