"""Any composition of layers and steps: the file computes what evaluation computes."""

import tempfile
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.export.coverage.agreement import agreeing
from tests.models import Calls, normal

WIDTH = 4

# Each keeps [1, n, WIDTH] with n > 1, so that they follow each other in any order.
STEPS = {
    "dense": lambda y: nn.Dense(WIDTH)(y),
    "convolution": lambda y: nn.Conv(WIDTH, (3,))(y),
    "attention": lambda y: nn.softmax(y @ jnp.swapaxes(y, 1, 2)) @ y,
    "residual": lambda y: y + nn.Dense(WIDTH)(nn.relu(y)),
    "gate": lambda y: y * nn.sigmoid(nn.Dense(WIDTH)(y)),
    "norm": lambda y: nn.LayerNorm(epsilon=1e-5)(y),
    "batch norm": lambda y: nn.BatchNorm(use_running_average=True)(y),
    "tanh": lambda y: nn.tanh(y),
    "heads": lambda y: y.reshape(1, -1, 2, 2).transpose(0, 1, 3, 2).reshape(1, -1, WIDTH),
    "flipped": lambda y: y[:, ::-1],
    "joined": lambda y: jnp.concatenate([y, nn.Dense(WIDTH)(y), y[:, :1]], 1)[:, :4],
    "pooled": lambda y: nn.max_pool(y, (2,), padding="SAME"),
    "averaged": lambda y: nn.avg_pool(y, (3,), padding="SAME"),
    "mean": lambda y: y + jnp.broadcast_to(y.mean(1, keepdims=True), y.shape),
    "flattened": lambda y: nn.Dense(4 * WIDTH)(y.reshape(1, -1)).reshape(1, 4, WIDTH),
    "recurrent": lambda y: nn.RNN(nn.GRUCell(WIDTH))(y),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*is clipped")
@settings(max_examples=6, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(sorted(STEPS)), min_size=3, max_size=6), st.sampled_from(["arcs", "venusA"]))
def test_any_composition_agrees(names, platform):
    def function(x):
        y = nn.Dense(WIDTH)(x)
        for name in names:
            y = STEPS[name](y)
        return y, nn.Dense(3)(y)

    with tempfile.TemporaryDirectory() as folder, jax.numpy_dtype_promotion("standard"):
        agreeing(Path(folder), Calls(function), normal(1, 6, 5), platform=platform)
