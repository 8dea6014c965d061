"""A convolution with its normalization, and what tracing finds in a model of such."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import linger_jax
import linger_jax.nn
from tests.models import random_array

KEY = jax.random.key(0)


class ConvNormRelu(nn.Module):
    """The block that is fused: convolution, normalization, ReLU."""

    features: int = 4
    transposed: bool = False
    epsilon: float = 1e-3
    bias: bool = True
    options: Any = None

    def convolution(self, **kwargs: Any) -> nn.Module:
        options = self.options or {}
        make = nn.Conv
        if self.transposed:
            make = linger_jax.nn.ConvTranspose if "output_padding" in options else nn.ConvTranspose
        return make(self.features, (3, 3), **options, **kwargs)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        x = self.convolution(use_bias=self.bias, name="conv")(x)
        return nn.relu(nn.BatchNorm(use_running_average=not train, epsilon=self.epsilon, name="norm")(x))


def norm(name: str, **options: Any) -> nn.BatchNorm:
    return nn.BatchNorm(use_running_average=True, name=name, **options)


def settled(model: nn.Module, x: Any, **kwargs: Any) -> Any:
    """Random variables; variances and scales around one."""
    generator = np.random.default_rng(3)

    def value(path: Any, leaf: Any) -> jax.Array:
        noise = 0.3 * generator.normal(size=leaf.shape)
        return jnp.asarray(1 + np.abs(noise) if path[-1].key in ("var", "scale") else noise, jnp.float32)

    return jax.tree_util.tree_map_with_path(value, jax.eval_shape(model.init, KEY, x, **kwargs))


IMAGE = random_array(1, 2, 9, 9, 3)


OPEN = {"clamp_factor_value": None, "clamp_activation_value": None}
