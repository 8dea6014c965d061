"""Folding a batch normalization into a convolution (docs/specification/layers.md section 5.2)."""

import jax
import numpy as np
import pytest

from linger_jax.numerics.normalization.norm_folding import fold_batch_norm

RANDOM = np.random.default_rng(5)
F = np.float32


def arrays(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(F)


@pytest.mark.parametrize("jitted", [False, True])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("affine", [False, True])
def test_every_operation_is_rounded_to_float32_on_its_own(jitted, has_bias, affine):
    kernel, bias, gamma, beta, mean = arrays(3, 3, 5, 64), *(arrays(64) for _ in range(4))
    variance, eps = np.abs(arrays(64)), 1e-3
    bias = bias if has_bias else None
    gamma, beta = (gamma, beta) if affine else (None, None)
    fold = jax.jit(fold_batch_norm, static_argnums=6) if jitted else fold_batch_norm
    got_kernel, got_bias = fold(kernel, bias, gamma, beta, mean, variance, eps)
    alpha = F(1) / np.sqrt(variance + F(eps)) * (gamma if affine else F(1))
    shift = (beta if affine else F(0)) - mean * alpha
    np.testing.assert_array_equal(got_kernel, kernel * alpha)
    np.testing.assert_array_equal(got_bias, bias * alpha + shift if has_bias else shift)


def test_stacked_layers_fold_each_on_its_own():
    kernel, mean, variance = arrays(4, 3, 3, 2, 6), arrays(4, 6), np.abs(arrays(4, 6))
    got, bias = fold_batch_norm(kernel, None, None, None, mean, variance, 1e-5)
    for i in range(4):
        one, one_bias = fold_batch_norm(kernel[i], None, None, None, mean[i], variance[i], 1e-5)
        np.testing.assert_array_equal(got[i], one)
        np.testing.assert_array_equal(bias[i], one_bias)


def test_the_references_factor_runs_along_input_channels_group_by_group():
    groups, kernel, mean, variance = 2, arrays(3, 2, 4), np.zeros(4, F), np.arange(4, dtype=F)
    got, _ = fold_batch_norm(kernel, None, None, None, mean, variance, 1.0, input_groups=groups)
    alpha = F(1) / np.sqrt(variance + F(1))
    for row in range(2):
        for out in range(4):
            np.testing.assert_array_equal(got[:, row, out], kernel[:, row, out] * alpha[out // 2 * 2 + row])
    with pytest.raises(ValueError, match="4 factors for 6 input channels"):
        fold_batch_norm(arrays(3, 6, 4), None, None, None, mean, variance, 1.0, input_groups=1)
