"""A batch normalization with fixed statistics folded into the convolution before it.

Source: docs/specification/layers.md section 5.2.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from linger_jax.numerics.products import rounded_product
from linger_jax.numerics.true_division import true_reciprocal

Array = jax.Array


def fold_batch_norm(
    kernel: Array,
    bias: Array | None,
    gamma: Array | None,
    beta: Array | None,
    mean: Array,
    variance: Array,
    epsilon: float,
    *,
    input_groups: int | None = None,
) -> tuple[Array, Array]:
    """Kernel and bias of the one convolution that computes convolution and normalization.

    sigma = 1 / sqrt(variance + epsilon), alpha = gamma * sigma, kernel' = kernel * alpha along the output channels,
    bias' = f32(bias * alpha) + f32(beta - f32(mean * alpha)); each operation rounded to float32 on its own.

    Args:
      kernel: float32 [stack..., window..., in/groups, C], output channels last.
      bias: float32 [stack..., C], or None.
      gamma, beta: float32 [stack..., C]; None stands for ones and zeros.
      mean, variance: float32 [stack..., C].
      epsilon: of the normalization.
      input_groups: None; or the groups of a transposed convolution that is folded as the reference does it, along
        its *input* channels (a defect of the reference: it needs as many inputs as outputs).

    Returns:
      float32 kernel of the shape it came with, float32 bias [stack..., C].

    Raises:
      ValueError: folding along input channels whose number is not C.
    """
    sigma = true_reciprocal(jnp.sqrt(variance + jnp.float32(epsilon)))
    alpha = sigma if gamma is None else rounded_product(gamma, sigma)
    folded = rounded_product(kernel, _beside(alpha, kernel, input_groups))
    shift = -rounded_product(mean, alpha)
    shift = shift if beta is None else beta + shift
    return folded, shift if bias is None else rounded_product(bias, alpha) + shift


def _beside(alpha: Array, kernel: Array, input_groups: int | None) -> Array:
    """The factor of each channel in a shape that multiplies the kernel."""
    if input_groups is None:
        stack, channels = alpha.shape[:-1], alpha.shape[-1:]
        return alpha.reshape(*stack, *(1,) * (kernel.ndim - alpha.ndim), *channels)
    inputs, outputs = kernel.shape[-2] * input_groups, kernel.shape[-1]
    if inputs != alpha.shape[-1]:
        raise ValueError(f"{alpha.shape[-1]} factors for {inputs} input channels")
    # Row i of group g takes the factor of input channel g * (in/groups) + i, for each output channel of that group.
    rows = alpha.reshape(input_groups, inputs // input_groups).T
    columns = rows[:, np.repeat(np.arange(input_groups), outputs // input_groups)]
    return columns.reshape(*(1,) * (kernel.ndim - 2), *columns.shape)
