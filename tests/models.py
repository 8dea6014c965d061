"""Small Flax models that tests share, and variables for them: compiled once where tests share them, or not at all."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import linger_jax

Array = jax.Array
Variables = dict[str, Any]


CALIBRATED_QUICKLY = {"a_calibrate_name": "abs_max", "w_calibrate_name": "abs_max", "calibrate_exponent": "nearest"}
"""``quant_info`` whose calibration is compiled in the least time, for tests that ask for scales and not for which."""


def random_array(seed: int, *shape: int, scale: float = 1.0) -> Array:
    """Normal float32 values."""
    return jax.device_put(np.float32(scale) * np.random.default_rng(seed).standard_normal(shape, np.float32))


def normal(*shape: int) -> Array:
    """Normal float32 values that the shape decides."""
    return random_array(sum(shape), *shape)


def on_grid(seed: int, scale: float, *shape: int, largest: int = 127) -> linger_jax.QTensor:
    """Values of whole steps, of 8 bits, up to a largest step."""
    steps = np.random.default_rng(seed).integers(-largest, largest + 1, shape)
    return linger_jax.QTensor(jax.device_put(np.float32(steps / scale)), jnp.float32(scale), 8)


def drawn(model: nn.Module, *args: Any, seed: int = 0, **kwargs: Any) -> Variables:
    """Float variables of the shapes that ``model.init`` gives, drawn by NumPy: nothing is run or compiled for them.

    Scales and variances are one, biases, means and whole numbers zero, everything else is normal and as large as the
    initializers of Flax make a kernel.

    Args:
      model: the float model.
      *args, **kwargs: the call, as for ``model.init``.
      seed: of the draw.
    """
    random = np.random.default_rng(seed)

    def draw(path: Any, leaf: Any) -> Array:
        name = next((key.key for key in reversed(path) if isinstance(key, jax.tree_util.DictKey)), "")
        if name in ("scale", "var"):
            values = np.ones(leaf.shape)
        elif name in ("bias", "mean") or not jnp.issubdtype(leaf.dtype, jnp.floating):
            values = np.zeros(leaf.shape)
        else:
            values = random.normal(0, math.prod(leaf.shape[:-1]) ** -0.5, leaf.shape)
        return jax.device_put(np.asarray(values, leaf.dtype))  # jnp.asarray would compile a program a shape

    floats = jax.tree.map(_value, args, is_leaf=lambda a: isinstance(a, linger_jax.QTensor))
    return jax.tree.map_with_path(draw, jax.eval_shape(lambda: model.init(jax.random.key(0), *floats, **kwargs)))


def _value(argument: Any) -> Any:
    return argument.value if isinstance(argument, linger_jax.QTensor) else argument


def initialised(qmodel: linger_jax.QuantizedModel, *args: Any, **kwargs: Any) -> Variables:
    """``qmodel.init`` with ``drawn`` variables."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    return qmodel.adopt(drawn(qmodel.model, *args, **kwargs), *args, rngs=key, **kwargs)


def prepared(
    model: nn.Module, *args: Any, config: Any = None, **kwargs: Any
) -> tuple[linger_jax.QuantizedModel, Variables]:
    """A quantized model and fresh variables of it.

    Tests that ask for the same model, configuration and shapes share the quantized model, with its plans and compiled
    calls. The variables are theirs: their containers may be changed.
    """
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(np.shape(a), jnp.result_type(a)), args)
    leaves, structure = jax.tree.flatten((shapes, kwargs))
    key = (model, json.dumps(config, sort_keys=True), structure, *leaves)
    try:
        hash(key)
    except TypeError:  # a model with a list among its fields
        qmodel, variables = _prepared.__wrapped__(*key)
    else:
        qmodel, variables = _prepared(*key)
    return qmodel, jax.tree.map(lambda leaf: leaf, variables)


@functools.lru_cache(maxsize=64)
def _prepared(
    model: nn.Module, config: str, structure: Any, *leaves: Any
) -> tuple[linger_jax.QuantizedModel, Variables]:
    shapes, kwargs = jax.tree.unflatten(structure, leaves)
    args = jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), shapes)
    qmodel = linger_jax.init(model, json.loads(config))
    return qmodel, initialised(qmodel, *args, **kwargs)


class Calls(nn.Module):
    """A model of one function of its inputs, in which layers may be made."""

    function: Callable[..., Any]

    @nn.compact
    def __call__(self, *inputs: Any) -> Any:
        return self.function(*inputs)


class OnArguments(nn.Module):
    """An operator on the arguments themselves; a Dense beside it makes the model quantizable."""

    operator: Callable[..., Any]

    @nn.compact
    def __call__(self, *args: Any) -> Any:
        nn.Dense(1, name="beside")(jnp.ones((1, 1)))
        return self.operator(*args)


class Mlp(nn.Module):
    """Compact style: Dense, relu, Dense."""

    hidden: int = 8
    classes: int = 3

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = nn.relu(nn.Dense(self.hidden, name="first")(x))
        return nn.Dense(self.classes, name="second")(x)


class SetupMlp(nn.Module):
    """The same network in setup style, layers in a list."""

    def setup(self) -> None:
        self.layers = [nn.Dense(8), nn.Dense(3)]

    def __call__(self, x: Array) -> Array:
        return self.layers[1](nn.relu(self.layers[0](x)))


class ResidualBlock(nn.Module):
    """Convolution, BatchNorm and a residual addition."""

    features: int = 4

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        y = nn.Conv(self.features, (3, 3), use_bias=False, name="conv")(x)
        y = nn.BatchNorm(use_running_average=not train, name="norm")(y)
        return nn.relu(y) + x


class ResidualCnn(nn.Module):
    """Stem, residual blocks, pooling, dropout, head: every part of the core in one model."""

    blocks: int = 2
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        x = nn.relu(nn.Conv(4, (3, 3), name="stem")(x))
        x = nn.max_pool(x, (2, 2), (2, 2))
        for i in range(self.blocks):
            x = ResidualBlock(name=f"block_{i}")(x, train=train)
        x = jnp.mean(x, axis=(1, 2))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(3, name="head")(x)


class Shared(nn.Module):
    """One Dense instance that is called twice."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        dense = nn.Dense(4, name="dense")
        return dense(dense(x))


class Residual(nn.Module):
    """x + Dense(x): the body that the control-flow models repeat."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return x + nn.Dense(4, name="dense")(x)


class ResidualStep(nn.Module):
    """``Residual`` with the calling convention of ``nn.scan``."""

    @nn.compact
    def __call__(self, x: Array, _: None) -> tuple[Array, None]:
        return x + nn.Dense(4, name="dense")(x), None


class Scanned(nn.Module):
    """An entry layer and ``length`` residual steps with stacked (or broadcast) parameters."""

    length: int = 3
    stacked: bool = True
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = nn.Dense(4, name="entry")(x)
        step: Any = nn.remat(ResidualStep, prevent_cse=False) if self.remat else ResidualStep
        scan = nn.scan(
            step,
            variable_axes={"params": 0} if self.stacked else {},
            variable_broadcast=False if self.stacked else "params",
            split_rngs={"params": self.stacked},
            length=self.length,
        )
        return scan(name="steps")(x, None)[0]


class Unrolled(nn.Module):
    """What ``Scanned`` computes, step by step: modules of their own, or one module called again."""

    length: int = 3
    stacked: bool = True

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = nn.Dense(4, name="entry")(x)
        one = None if self.stacked else Residual(name="steps")
        for i in range(self.length):
            x = (one or Residual(name=f"step_{i}"))(x)
        return x


class AfterDense(nn.Module):
    """An operator on the quantized output of a Dense layer named ``layer``."""

    operator: Callable[[Array], Any]

    @nn.compact
    def __call__(self, x: Array) -> Any:
        return self.operator(nn.Dense(4, name="layer")(x))


class AfterConv(nn.Module):
    """An operator on the quantized output of a 1x1 convolution (or Conv of width 1) named ``layer``."""

    operator: Callable[[Array], Any]
    kernel: Sequence[int] = (1, 1)

    @nn.compact
    def __call__(self, x: Array) -> Any:
        return self.operator(nn.Conv(4, tuple(self.kernel), name="layer")(x))
