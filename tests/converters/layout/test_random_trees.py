"""Random trees of modules, PyTorch -> Flax -> PyTorch: equal outputs, and the very same state dict.

Every part of a tree keeps the shape of its input, so that few shapes are compiled however many trees are drawn.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import torch
from hypothesis import example as also
from hypothesis import given, settings
from hypothesis import strategies as st

from linger_jax import converters
from linger_jax.nn import TorchGRUCell, TorchLSTMCell
from tests.converters.twins import assert_same_state, assert_twins, example, largest_difference, randomized

CHANNELS, HEIGHT, LENGTH, WIDTH, TOKENS = 4, 6, 5, 4, 7
# Large enough that features that happen to be almost equal are not blown up, and rounding errors with them.
EPSILON = 0.1

IMAGE_LAYERS = ("conv", "depthwise", "transposed", "batch norm", "group norm", "relu", "widen")
SEQUENCE_LAYERS = ("linear", "layer norm", "lstm", "gru", "bigru", "attention", "conv1d", "relu")


def trees(layers: tuple[str, ...]) -> st.SearchStrategy[Any]:
    """A layer by its name; or a container with the parts that are its children."""
    return st.recursive(
        st.sampled_from(layers),
        lambda inner: st.one_of(
            st.tuples(st.just("sequence"), st.lists(inner, min_size=1, max_size=3).map(tuple)),
            st.tuples(st.sampled_from(["residual", "twice"]), st.tuples(inner)),
            st.tuples(st.just("branches"), st.tuples(inner, inner)),
        ),
        max_leaves=5,
    )


class TorchTree(torch.nn.Module):
    """A tree; what joins branches is a product of its own."""

    def __init__(self, tree: Any, image: bool) -> None:
        super().__init__()
        self.tree, self.image = tree, image
        if isinstance(tree, str):
            inner = _torch_layer(tree)
            if inner is not None:
                self.inner = inner
            return
        for i, part in enumerate(tree[1]):
            setattr(self, f"part{i}", TorchTree(part, image))
        if tree[0] == "branches":
            self.join = torch.nn.Conv2d(2 * CHANNELS, CHANNELS, 1) if image else torch.nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: Any) -> Any:
        if isinstance(self.tree, str):
            return self.layer(x)
        kind, children = self.tree
        if kind == "residual":
            return x + self.part0(x)
        if kind == "twice":
            return self.part0(self.part0(x))
        if kind == "branches":
            return self.join(torch.cat([self.part0(x), self.part1(x)], 1 if self.image else -1))
        for i in range(len(children)):
            x = getattr(self, f"part{i}")(x)
        return x

    def layer(self, x: Any) -> Any:
        if self.tree == "relu":
            return torch.relu(x)
        if self.tree == "widen":
            return torch.nn.functional.max_pool2d(x, 3, 1, 1)
        if self.tree == "conv1d":
            return self.inner(x.transpose(1, 2)).transpose(1, 2)
        if self.tree == "attention":
            return self.inner(x, x, x)[0]
        return self.inner(x)[0] if self.tree in ("lstm", "gru", "bigru") else self.inner(x)


def _torch_layer(name: str) -> torch.nn.Module | None:
    recurrent = {"batch_first": True}
    return {
        "conv": lambda: torch.nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1),
        "depthwise": lambda: torch.nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, groups=CHANNELS, bias=False),
        "transposed": lambda: torch.nn.ConvTranspose2d(CHANNELS, CHANNELS, 3, padding=1),
        "batch norm": lambda: torch.nn.BatchNorm2d(CHANNELS),
        "group norm": lambda: torch.nn.GroupNorm(2, CHANNELS, eps=EPSILON),
        "linear": lambda: torch.nn.Linear(WIDTH, WIDTH),
        "layer norm": lambda: torch.nn.LayerNorm(WIDTH, eps=EPSILON),
        "lstm": lambda: torch.nn.LSTM(WIDTH, WIDTH, **recurrent),
        "gru": lambda: torch.nn.GRU(WIDTH, WIDTH, **recurrent),
        "bigru": lambda: torch.nn.GRU(WIDTH, WIDTH // 2, bidirectional=True, **recurrent),
        "attention": lambda: torch.nn.MultiheadAttention(WIDTH, 2, batch_first=True),
        "conv1d": lambda: torch.nn.Conv1d(WIDTH, WIDTH, 3, padding=1),
    }.get(name, lambda: None)()


class FlaxTree(nn.Module):
    """The same tree, channels-last; with ``named`` its parts carry PyTorch's names."""

    tree: Any
    named: bool

    @nn.compact
    def __call__(self, x: Any) -> Any:
        def name(text: str) -> str | None:
            return text if self.named else None

        if isinstance(self.tree, str):
            return self.layer(x, name("inner"))
        kind, children = self.tree
        parts = [FlaxTree(part, self.named, name=name(f"part{i}")) for i, part in enumerate(children)]
        if kind == "residual":
            return x + parts[0](x)
        if kind == "twice":
            return parts[0](parts[0](x))
        if kind == "branches":
            both = jnp.concatenate([parts[0](x), parts[1](x)], -1)
            features = both.shape[-1] // 2
            image = both.ndim == 4
            return (
                nn.Conv(features, (1, 1), name=name("join"))(both)
                if image
                else nn.Dense(features, name=name("join"))(both)
            )
        for part in parts:
            x = part(x)
        return x

    def layer(self, x: Any, name: str | None) -> Any:
        if self.tree == "relu":
            return nn.relu(x)
        if self.tree == "widen":
            return nn.max_pool(x, (3, 3), (1, 1), ((1, 1), (1, 1)))
        if self.tree == "bigru":
            return nn.Bidirectional(*(nn.RNN(TorchGRUCell(WIDTH // 2)) for _ in range(2)), name=name)(x)
        makers: dict[str, Any] = {
            "conv": lambda: nn.Conv(CHANNELS, (3, 3), padding=1, name=name),
            "depthwise": lambda: nn.Conv(
                CHANNELS, (3, 3), padding=1, feature_group_count=CHANNELS, use_bias=False, name=name
            ),
            "transposed": lambda: nn.ConvTranspose(CHANNELS, (3, 3), padding="SAME", name=name),
            "batch norm": lambda: nn.BatchNorm(use_running_average=True, name=name),
            "group norm": lambda: nn.GroupNorm(2, epsilon=EPSILON, use_fast_variance=False, name=name),
            "linear": lambda: nn.Dense(WIDTH, name=name),
            "layer norm": lambda: nn.LayerNorm(epsilon=EPSILON, use_fast_variance=False, name=name),
            "lstm": lambda: nn.RNN(TorchLSTMCell(WIDTH), name=name),
            "gru": lambda: nn.RNN(TorchGRUCell(WIDTH), name=name),
            "attention": lambda: nn.MultiHeadDotProductAttention(2, name=name),
            "conv1d": lambda: nn.Conv(WIDTH, (3,), padding=1, name=name),
        }
        return makers[self.tree]()(x)


class TorchImages(torch.nn.Module):
    def __init__(self, tree: Any, pooled: bool) -> None:
        super().__init__()
        self.pooled = pooled
        self.body = TorchTree(tree, image=True)
        height, width = (HEIGHT // 2, HEIGHT // 2 - 1) if pooled else (HEIGHT, HEIGHT - 1)
        self.head = torch.nn.Linear(CHANNELS * height * width, 3)

    def forward(self, x: Any) -> Any:
        x = self.body(x)
        return self.head((torch.nn.functional.max_pool2d(x, 2) if self.pooled else x).flatten(1))


class FlaxImages(nn.Module):
    tree: Any
    pooled: bool
    named: bool

    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = FlaxTree(self.tree, self.named, name="body" if self.named else None)(x)
        x = nn.max_pool(x, (2, 2), (2, 2)) if self.pooled else x
        return nn.Dense(3, name="head" if self.named else None)(x.reshape(len(x), -1))


class TorchTokens(torch.nn.Module):
    """Token numbers through a table whose weights may be those of the head, too."""

    def __init__(self, tree: Any, tied: bool) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(TOKENS, WIDTH)
        self.body = TorchTree(tree, image=False)
        self.head = torch.nn.Linear(WIDTH, TOKENS, bias=False)
        if tied:
            self.head.weight = self.table.weight

    def forward(self, x: Any) -> Any:
        return self.head(self.body(self.table(x)))


class FlaxTokens(nn.Module):
    tree: Any
    tied: bool
    named: bool

    @nn.compact
    def __call__(self, x: Any) -> Any:
        table = nn.Embed(TOKENS, WIDTH, name="table" if self.named else None)
        y = FlaxTree(self.tree, self.named, name="body" if self.named else None)(table(x))
        return (
            table.attend(y) if self.tied else nn.Dense(TOKENS, use_bias=False, name="head" if self.named else None)(y)
        )


@settings(max_examples=8)
@given(tree=trees(IMAGE_LAYERS), pooled=st.booleans(), named=st.booleans(), seed=st.integers(0, 2**16))
@also(tree=("branches", (("twice", ("conv",)), ("residual", ("batch norm",)))), pooled=True, named=False, seed=0)
def test_random_trees_of_image_layers_compute_the_same_and_come_back(
    tree: Any, pooled: bool, named: bool, seed: int
) -> None:
    x = example(2, CHANNELS, HEIGHT, HEIGHT - 1, seed=seed)
    report = assert_twins(TorchImages(tree, pooled), FlaxImages(tree, pooled, named), x, seed=seed)
    assert {row.how for row in report.rows} == {"name" if named else "order"}


@settings(max_examples=8)
@given(tree=trees(SEQUENCE_LAYERS), tied=st.booleans(), named=st.booleans(), seed=st.integers(0, 2**16))
@also(tree=("sequence", (("twice", ("lstm",)), ("residual", ("attention",)))), tied=True, named=True, seed=0)
def test_random_trees_of_sequence_layers_compute_the_same_and_come_back(
    tree: Any, tied: bool, named: bool, seed: int
) -> None:
    module, model = randomized(TorchTokens(tree, tied), seed), FlaxTokens(tree, tied, named)
    x = np.random.default_rng(seed).integers(0, TOKENS, (2, LENGTH)).astype(np.int32)
    variables, report = converters.from_torch(module.state_dict(), model, x)
    assert largest_difference(module, model, variables, x, flax_x=x) <= 1e-5
    assert_same_state(converters.to_torch(model, variables, x, mapping=report), module, report)
