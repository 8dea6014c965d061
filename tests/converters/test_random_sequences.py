"""Random trees of sequence layers, PyTorch -> Flax -> PyTorch: equal outputs, and the very same state dict."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from linger_jax.nn import TorchGRUCell, TorchLSTMCell
from tests.converters.twins import assert_twins, example

WIDTH = 4
# A leaf is the name of a layer, a list is a module of its own.
TREES = st.recursive(
    st.sampled_from(["linear", "norm", "lstm", "gru", "bigru", "attention"]),
    lambda inner: st.lists(inner, min_size=1, max_size=3),
    max_leaves=5,
)


class TorchTree(torch.nn.Module):
    def __init__(self, tree: Any) -> None:
        super().__init__()
        self.tree = tree
        if isinstance(tree, list):
            for i, part in enumerate(tree):
                setattr(self, f"part{i}", TorchTree(part))
        else:
            self.inner = {
                "linear": lambda: torch.nn.Linear(WIDTH, WIDTH),
                "norm": lambda: torch.nn.LayerNorm(WIDTH),
                "lstm": lambda: torch.nn.LSTM(WIDTH, WIDTH, batch_first=True),
                "gru": lambda: torch.nn.GRU(WIDTH, WIDTH, batch_first=True),
                "bigru": lambda: torch.nn.GRU(WIDTH, WIDTH // 2, batch_first=True, bidirectional=True),
                "attention": lambda: torch.nn.MultiheadAttention(WIDTH, 2, batch_first=True),
            }[tree]()

    def forward(self, x: Any) -> Any:
        if isinstance(self.tree, list):
            for i in range(len(self.tree)):
                x = getattr(self, f"part{i}")(x)
            return x
        if self.tree == "attention":
            return self.inner(x, x, x)[0]
        return self.inner(x)[0] if self.tree in ("lstm", "gru", "bigru") else self.inner(x)


class FlaxTree(nn.Module):
    tree: Any

    @nn.compact
    def __call__(self, x: Any) -> Any:
        if not isinstance(self.tree, str):
            for i, part in enumerate(self.tree):
                x = FlaxTree(part, name=f"part{i}")(x)
            return x
        if self.tree == "linear":
            return nn.Dense(WIDTH, name="inner")(x)
        if self.tree == "norm":
            return nn.LayerNorm(epsilon=1e-5, name="inner")(x)
        if self.tree == "attention":
            return nn.MultiHeadDotProductAttention(2, name="inner")(x)
        if self.tree == "bigru":
            halves = [nn.RNN(TorchGRUCell(WIDTH // 2)) for _ in range(2)]
            return nn.Bidirectional(*halves, name="inner")(x)
        return nn.RNN({"lstm": TorchLSTMCell, "gru": TorchGRUCell}[self.tree](WIDTH), name="inner")(x)


@settings(max_examples=12, deadline=None)
@given(tree=TREES, seed=st.integers(0, 2**16))
def test_random_trees_compute_the_same_and_come_back(tree: Any, seed: int) -> None:
    x = example(2, 3, WIDTH, seed=seed)
    report = assert_twins(TorchTree(tree), FlaxTree(tree), x, flax_x=x, seed=seed)
    assert {row.how for row in report.rows} <= {"name", "order"}
