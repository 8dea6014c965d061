"""Small networks with one flatten, in PyTorch and in Flax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import torch

IMAGE = (2, 3, 6, 5)


def flat(x: Any) -> Any:
    return x.reshape(x.shape[0], -1)


class FlaxOnly(nn.Module):
    """Applies a function to the input, then one Dense."""

    middle: Callable[..., Any]
    features: int = 5

    @nn.compact
    def __call__(self, x: Any) -> Any:
        return nn.Dense(self.features)(self.middle(x))


class TorchOnly(torch.nn.Module):
    """The same."""

    def __init__(self, inputs: int, middle: Callable[..., Any], features: int = 5) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(inputs, features)
        self.middle = middle

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.middle(x))
