"""A Dense behind a flatten reads its features in PyTorch's order, wherever the flatten stands.

Source: docs/decisions.md D20.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
import torch
from torch.nn import functional

from tests.converters.layout.flattening_models import IMAGE, flat
from tests.converters.twins import assert_twins, example


class TorchNet(torch.nn.Module):
    """Two convolutions, whatever brings their results together, one linear layer."""

    def __init__(self, features: int, middle: Callable[..., Any]) -> None:
        super().__init__()
        self.one = torch.nn.Conv2d(3, 4, 3, padding=1)
        self.two = torch.nn.Conv2d(3, 7, 3, padding=1)
        self.fc = torch.nn.Linear(features, 5)
        self.middle = middle

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.middle(self.one(x), self.two(x)))


class FlaxNet(nn.Module):
    """The same."""

    middle: Callable[..., Any]

    @nn.compact
    def __call__(self, x: Any) -> Any:
        one = nn.Conv(4, (3, 3), padding=1)(x)
        two = nn.Conv(7, (3, 3), padding=1)(x)
        return nn.Dense(5)(self.middle(one, two))


def average(x: Any, *window: tuple[int, int]) -> Any:
    with jax.numpy_dtype_promotion("standard"):  # Flax divides a float32 by an int32
        return nn.avg_pool(x, *window)


MIDDLES: dict[str, tuple[int, Callable[..., Any], Callable[..., Any]]] = {
    "flatten": (120, lambda a, b: a.flatten(1), lambda a, b: flat(a)),
    "relu and pool between": (
        42,
        lambda a, b: functional.max_pool2d(b.relu(), 2).flatten(1),
        lambda a, b: flat(nn.max_pool(nn.relu(b), (2, 2), (2, 2))),
    ),
    "relu behind": (120, lambda a, b: a.flatten(1).relu() * 2, lambda a, b: nn.relu(flat(a)) * 2),
    "average pool": (
        16,
        lambda a, b: functional.avg_pool2d(a, (3, 2), (2, 2)).flatten(1),
        lambda a, b: flat(average(a, (3, 2), (2, 2))),
    ),
    "transposed by the user": (120, lambda a, b: a.flatten(1), lambda a, b: flat(a.transpose(0, 3, 1, 2))),
    "other transposes": (
        120,
        lambda a, b: a.transpose(2, 3).flatten(1),
        lambda a, b: flat(jnp.swapaxes(a, 1, 2)),
    ),
    "two flattened branches": (
        330,
        lambda a, b: torch.cat([b.flatten(1), a.flatten(1)], 1),
        lambda a, b: jnp.concatenate([flat(b), flat(a)], axis=1),
    ),
    "a flattened and a pooled branch": (
        124,
        lambda a, b: torch.cat([a.mean((2, 3)), a.flatten(1)], 1),
        lambda a, b: jnp.concatenate([a.mean((1, 2)), flat(a)], axis=-1),
    ),
    "channels concatenated, then flattened": (
        330,
        lambda a, b: torch.cat([a, b], 1).flatten(1),
        lambda a, b: flat(jnp.concatenate([a, b], axis=-1)),
    ),
    "rows concatenated, then flattened": (
        240,
        lambda a, b: torch.cat([a, a * 2], 2).flatten(1),
        lambda a, b: flat(jnp.concatenate([a, a * 2], axis=1)),
    ),
    "cropped, then flattened": (
        18,
        lambda a, b: a[:, 1:3, 1:4, ::2].flatten(1),
        lambda a, b: flat(a[:, 1:4, ::2, 1:3]),
    ),
    "padded, then flattened": (
        224,
        lambda a, b: functional.pad(a, (1, 2, 1, 0)).flatten(1),
        lambda a, b: flat(jnp.pad(a, ((0, 0), (1, 0), (1, 2), (0, 0)))),
    ),
    "spatial axes merged first": (
        120,
        lambda a, b: a.flatten(2).flatten(1),
        lambda a, b: flat(a.reshape(a.shape[0], -1, 4)),
    ),
    "mean over one axis": (24, lambda a, b: a.mean(3).flatten(1), lambda a, b: flat(a.mean(2))),
    "mean over channels": (30, lambda a, b: a.mean(1).flatten(1), lambda a, b: flat(a.mean(-1))),
    "one row": (20, lambda a, b: a[:, :, 2].flatten(1), lambda a, b: flat(a[:, 2])),
    "gated": (
        120,
        lambda a, b: (a * a.mean((2, 3), keepdim=True).sigmoid()).flatten(1),
        lambda a, b: flat(a * nn.sigmoid(a.mean((1, 2), keepdims=True))),
    ),
    "split in channels": (
        60,
        lambda a, b: (a.chunk(2, 1)[0] + a.chunk(2, 1)[1]).flatten(1),
        lambda a, b: flat(jnp.split(a, 2, axis=-1)[0] + jnp.split(a, 2, axis=-1)[1]),
    ),
    "unflattened again": (
        120,
        lambda a, b: a.flatten(1).reshape(a.shape).relu().flatten(1),
        lambda a, b: flat(nn.relu(flat(a).reshape(a.shape))),
    ),
    "softmax over features": (120, lambda a, b: a.flatten(1).softmax(1), lambda a, b: nn.softmax(flat(a))),
    "global pool": (4, lambda a, b: a.amax((2, 3)), lambda a, b: a.max((1, 2))),
    "kept axes of one": (4, lambda a, b: a.amax((2, 3)), lambda a, b: flat(a.max((1, 2), keepdims=True))),
}


@pytest.mark.parametrize("name", MIDDLES)
def test_rows_of_a_dense_follow_the_flatten(name: str) -> None:
    features, in_torch, in_flax = MIDDLES[name]
    assert_twins(TorchNet(features, in_torch), FlaxNet(in_flax), example(*IMAGE))
