import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linger_jax.numerics.products import precise_product, product_precision
from linger_jax.numerics.products.product_precision import KEPT_BITS

DEFAULT, HIGH, HIGHEST = jax.lax.Precision.DEFAULT, jax.lax.Precision.HIGH, jax.lax.Precision.HIGHEST
Preset = jax.lax.DotAlgorithmPreset
BOTH = (HIGHEST, HIGHEST)


def in_bfloat16(bits):
    """Whether a bfloat16 unit, the coarsest there is, keeps every integer of a width over a power of two."""
    values = np.arange(-(2 ** (bits - 1)), 2 ** (bits - 1)).astype(np.float32) / np.float32(64)
    return np.array_equal(values.astype(jnp.bfloat16).astype(np.float32), values)


def test_bfloat16_keeps_all_integers_of_the_kept_bits():
    assert all(in_bfloat16(bits) for bits in range(2, KEPT_BITS + 1))
    assert not in_bfloat16(KEPT_BITS + 2)  # nine significant bits and a sign


@pytest.mark.parametrize("asked", [None, (DEFAULT, DEFAULT), (HIGH, HIGH), BOTH, Preset.BF16_BF16_F32])
def test_narrow_operands_and_float_products_keep_what_the_user_asked_for(asked):
    assert product_precision(asked) == asked
    assert product_precision(asked, 8, 8) == asked


@pytest.mark.parametrize("asked", [None, DEFAULT, (DEFAULT, DEFAULT), (HIGHEST, DEFAULT), (HIGH, HIGH)])
@pytest.mark.parametrize("bits", [(9, 8), (8, 9), (16, 16)])
def test_one_wide_operand_makes_both_full(asked, bits):
    assert product_precision(asked, *bits) == BOTH


@pytest.mark.parametrize(
    ("algorithm", "kept"),
    [
        (Preset.F64_F64_F64, True),
        (Preset.BF16_BF16_F32_X6, True),
        (Preset.TF32_TF32_F32, False),
        (Preset.BF16_BF16_F32_X3, False),
        (jax.lax.DotAlgorithm(np.float32, np.float32, np.float32), True),
        (jax.lax.DotAlgorithm(jnp.bfloat16, jnp.bfloat16, np.float32), False),
    ],
)
def test_an_algorithm_that_keeps_all_bits_stays(algorithm, kept):
    assert product_precision(algorithm, 16, 8) == (algorithm if kept else BOTH)


def test_value_and_gradients_are_those_of_the_product():
    x, w = np.float32([[3, -4], [5, 120]]), np.float32([[300.5], [-7]])
    product = precise_product(jnp.matmul, None, 16, 8)
    value, pull = jax.vjp(product, x, w)
    np.testing.assert_array_equal(value, x @ w)
    d_x, d_w = pull(np.float32([[2], [-1]]))
    np.testing.assert_array_equal(d_x, np.float32([[2], [-1]]) @ w.T)
    np.testing.assert_array_equal(d_w, x.T @ np.float32([[2], [-1]]))
