"""A product with a parameter, as a module."""

import flax.linen as nn
import jax
import jax.numpy as jnp

X = jax.ShapeDtypeStruct((2, 4), jnp.float32)


class Product(nn.Module):
    """A product with a parameter; ``behind`` puts a quantized value in front of it."""

    multiply: object
    shape: tuple = (4, 4)
    behind: bool = False

    @nn.compact
    def __call__(self, x):
        w = self.param("w", nn.initializers.ones, self.shape)
        x = nn.Dense(x.shape[-1], name="layer")(x) if self.behind else x
        return self.multiply(x, w)


class Twice(nn.Module):
    """A parameter that two products read, and a module that is called twice."""

    @nn.compact
    def __call__(self, x):
        w = self.param("w", nn.initializers.ones, (4, 4))
        inner = Product(lambda x, w: x @ w, name="inner")
        return inner(inner(x @ w @ w.T))
