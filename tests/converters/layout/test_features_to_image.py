"""From features to an image: the columns of a Dense follow the order that PyTorch has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import pytest
import torch

from tests.converters.layout.flattening_models import flat
from tests.converters.twins import assert_twins, example

# --- from features to an image: the columns of a Dense ---


class TorchDecoder(torch.nn.Module):
    """Features to an image, as in generators and autoencoders."""

    def __init__(self, norm: bool) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(6, 2 * 3 * 4)
        self.norm = torch.nn.BatchNorm1d(24) if norm else torch.nn.Identity()
        self.up = torch.nn.ConvTranspose2d(4, 3, 2, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.up(self.norm(self.fc(x)).relu().view(-1, 4, 2, 3))


class FlaxDecoder(nn.Module):
    """The same."""

    norm: bool

    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.Dense(24)(x)
        if self.norm:
            x = nn.BatchNorm(use_running_average=True)(x)
        return nn.ConvTranspose(3, (2, 2), strides=(2, 2), padding="VALID")(nn.relu(x).reshape(-1, 2, 3, 4))


@pytest.mark.parametrize("norm", [False, True])
def test_columns_of_a_dense_follow_the_reshape_to_an_image(norm: bool) -> None:
    report = assert_twins(TorchDecoder(norm), FlaxDecoder(norm), example(2, 6))
    assert "columns from (C, H, W) order" in report.rows[0].transform


def test_a_decoder_that_ends_in_a_reshape_makes_an_image() -> None:
    assert_twins(
        TorchThen(24, lambda x: x.view(-1, 4, 2, 3)), FlaxThen(24, lambda x: x.reshape(-1, 2, 3, 4)), example(2, 6)
    )


def test_a_decoder_transposed_by_the_user_is_left_alone() -> None:
    report = assert_twins(
        TorchThen(24, lambda x: x.view(-1, 4, 2, 3)),
        FlaxThen(24, lambda x: x.reshape(-1, 4, 2, 3).transpose(0, 2, 3, 1)),
        example(2, 6),
    )
    assert report.rows[0].transform == "[out, in] -> [in, out]"


def test_autoencoder_flattens_and_unflattens() -> None:
    class Torch(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down = torch.nn.Conv2d(3, 4, 2, stride=2)
            self.code = torch.nn.Linear(4 * 3 * 2, 5)
            self.decode = torch.nn.Linear(5, 24)
            self.up = torch.nn.ConvTranspose2d(4, 3, 2, stride=2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.down(x)
            return self.up(x + self.decode(self.code(x.flatten(1))).view(x.shape))

    class Flax(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            x = nn.Conv(4, (2, 2), strides=(2, 2), padding="VALID")(x)
            y = nn.Dense(24)(nn.Dense(5)(flat(x)))
            return nn.ConvTranspose(3, (2, 2), strides=(2, 2), padding="VALID")(x + y.reshape(x.shape))

    assert_twins(Torch(), Flax(), example(2, 3, 6, 4))


class TorchThen(torch.nn.Module):
    """One linear layer, then a function."""

    def __init__(self, features: int, after: Callable[..., Any]) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(6, features)
        self.after = after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(self.fc(x))


class FlaxThen(nn.Module):
    """The same."""

    features: int
    after: Callable[..., Any]

    @nn.compact
    def __call__(self, x: Any) -> Any:
        return self.after(nn.Dense(self.features)(x))
