"""A quantized network, and the state that linger would save of it."""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import torch
from flax.traverse_util import flatten_dict

import linger_jax
from linger_jax import converters
from tests.converters.twins import example

X = example(2, 6, 6, 3)


State = dict[str, torch.Tensor]


class Gate(nn.Module):
    """Two operators of one owner, in a module of their own."""

    @nn.compact
    def __call__(self, x: Any, y: Any) -> Any:
        return (x + y) * x


class Net(nn.Module):
    """Layers under PyTorch's names, operators, a pool and a BatchNorm."""

    @nn.compact
    def __call__(self, x: Any, train: bool = False) -> Any:
        x = nn.relu(nn.Conv(4, (3, 3), padding=1, name="c1")(x))
        y = nn.BatchNorm(use_running_average=not train, name="b1")(nn.Conv(4, (1, 1), name="c2")(x))
        x = Gate(name="gate")(x, y)
        x = nn.avg_pool(x, (2, 2), (2, 2))
        return nn.Dense(3, name="fc")(x.reshape(len(x), -1)) + 1.0


POOL, LAST = "_linger_avg_pool_0", "_linger_qtensor_qadd_0"


# The names of a PyTorch module that does the same.
NAMES = {POOL: "pool"}


def quantized(method: str = "MOM", **config: Any) -> linger_jax.QuantizedModel:
    return linger_jax.init(Net(), {"compat": "reference", "quant_info": {"qat_method": method, **config}})


def numbers(count: int) -> np.ndarray:
    return np.random.default_rng(count).uniform(0.1, 2.0, count).astype(np.float32)


@functools.cache
def fresh_variables(method: str) -> Any:
    return quantized(method).init(jax.random.key(0), X)


def state_of(qmodel: linger_jax.QuantizedModel) -> State:
    """What linger would save of such a model: weights in PyTorch's layout, quantizers in the order of execution."""
    variables = fresh_variables(qmodel.settings.config.quant_info.qat_method.name)
    state: dict[str, Any] = {
        "c1.weight": numbers(108).reshape(4, 3, 3, 3),
        "c1.bias": numbers(4),
        "c2.weight": numbers(16).reshape(4, 4, 1, 1),
        "c2.bias": numbers(4) * 2,
        "b1.weight": numbers(4) * 3,
        "b1.bias": numbers(4) * 4,
        "b1.running_mean": numbers(4) * 5,
        "b1.running_var": numbers(4) * 6,
        "b1.num_batches_tracked": np.int64(7),
        "b1._export_weight": np.zeros(0, np.float32),
        "b1._export_bias": np.zeros(0, np.float32),
        "fc.weight": numbers(108).reshape(3, 36),
        "fc.bias": numbers(3),
    }
    flat = {**flatten_dict(variables["params"]), **flatten_dict(variables["quant"])}
    for i, (path, value) in enumerate(flat.items()):
        if not any(part.endswith("_quantizer") for part in path):
            continue
        head, *rest = path
        array = np.asarray(value)
        filled = np.full(array.shape, i % 2 == 0) if array.dtype == bool else np.full(array.shape, 2.0 ** (i % 9))
        state[".".join((NAMES.get(head, head), *rest))] = filled.astype(array.dtype)
    return {key: torch.from_numpy(np.array(value)) for key, value in state.items()}


def load(state: Any, qmodel: linger_jax.QuantizedModel, **options: Any) -> tuple[Any, converters.ImportReport]:
    return converters.load_linger_checkpoint(state, qmodel, None, X, **options)
