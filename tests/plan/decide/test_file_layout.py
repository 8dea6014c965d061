"""Kernels in the order of PyTorch's memory."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linger_jax
from linger_jax.kinds import KernelOrder
from linger_jax.numerics.sums.cascade_sum import cascade_sum
from linger_jax.plan.graph.kernel_layout import file_layout
from tests.golden.models.torch_layout import from_kernel


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("order", "op", "shape"),
    [
        (KernelOrder.matrix, "Linear", (5, 3)),
        (KernelOrder.convolution, "Conv1d", (3, 4, 2)),
        (KernelOrder.convolution, "Conv2d", (3, 2, 4, 5)),
        (KernelOrder.transposed_convolution, "ConvTranspose1d", (3, 4, 2)),
        (KernelOrder.transposed_convolution, "ConvTranspose2d", (3, 2, 4, 5)),
    ],
)
def test_the_layout_is_pytorchs_and_invertible(order, op, shape):
    kernel = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    layout = file_layout(order, len(shape))
    assert layout is not None
    weight = layout.to_file(jnp.asarray(kernel))
    np.testing.assert_array_equal(weight, from_kernel(op, kernel))
    np.testing.assert_array_equal(layout.from_file(weight), kernel)


@pytest.mark.model
def test_the_reference_clamps_a_kernel_to_the_mean_it_adds_up_in_file_order():
    x = jnp.ones((2, 40), jnp.float32)
    config = {"compat": "reference", "clamp_info": {"clamp_factor_value": 1.0}}
    qmodel = linger_jax.init(nn.Dense(30), config)
    for seed in range(20):
        kernel = jnp.asarray(np.random.default_rng(seed).normal(size=(40, 30)).astype(np.float32))
        variables = qmodel.adopt({"params": {"kernel": kernel, "bias": jnp.zeros(30, jnp.float32)}}, x)
        bound = np.float32(cascade_sum(jnp.abs(kernel.T))) / np.float32(kernel.size)
        assert jnp.max(jnp.abs(variables["params"]["kernel"])) == bound
        in_step = {"params": {"kernel": kernel, "bias": jnp.zeros(30, jnp.float32)}, "quant": _unclamped(variables)}
        _, updates = qmodel.apply(in_step, x, mutable=["quant", "params"])
        np.testing.assert_array_equal(updates["params"]["kernel"], variables["params"]["kernel"])


def _unclamped(variables):
    def cleared(path, leaf):
        return jnp.zeros((), jnp.bool_) if path[-1].key == "is_init_mom_clamp_weight" else leaf

    return jax.tree_util.tree_map_with_path(cleared, variables["quant"])
