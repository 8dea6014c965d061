"""Flattens in bodies and by hand, and features whose order only the user can tell."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from linger_jax import converters
from linger_jax.errors import ConversionError
from tests.converters.layout.flattening_models import IMAGE, FlaxOnly, TorchOnly, flat
from tests.converters.twins import assert_twins, example

# --- parameters of the model itself, bodies, and what cannot be followed ---


def test_a_product_and_a_scale_written_by_hand_follow_the_flatten() -> None:
    class Torch(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 3)
            self.gain = torch.nn.Parameter(torch.zeros(48))
            self.fc = torch.nn.Linear(48, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(self.conv(x).flatten(1) * self.gain)

    class Flax(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            x = flat(nn.Conv(4, (3, 3), padding="VALID")(x))
            return nn.Dense(5)(x * self.param("gain", nn.initializers.ones, (48,))[None])

    assert_twins(Torch(), Flax(), example(*IMAGE))


def test_flatten_is_followed_into_and_out_of_remat() -> None:
    class Stem(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            return flat(nn.relu(nn.Conv(4, (3, 3), padding="VALID")(x)))

    class Head(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            return nn.Dense(5)(x)

    class Flax(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            return nn.remat(Head)()(nn.remat(Stem)()(x))

    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(48, 5))
    assert_twins(module, Flax(), example(*IMAGE))


class ReadText(nn.Module):
    """Columns of an image as a sequence: rows and channels become features."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.Conv(4, (3, 3), padding="VALID")(x)
        return nn.Dense(5)(x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1))


class TorchReadText(torch.nn.Module):
    """The same; ``channels_first`` decides what PyTorch merges first."""

    def __init__(self, channels_first: bool) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.fc = torch.nn.Linear(16, 5)
        self.axes = (0, 3, 1, 2) if channels_first else (0, 3, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.conv(x).permute(self.axes).flatten(2))


def test_features_that_can_be_meant_both_ways_are_asked_for() -> None:
    with pytest.raises(ConversionError, match=r"Dense_0 reads features whose order.*flatten_order=\{'Dense_0': "):
        assert_twins(TorchReadText(True), ReadText(), example(*IMAGE))


@pytest.mark.parametrize("channels_first", [True, False])
def test_the_user_says_which_order_is_meant(channels_first: bool) -> None:
    x = example(*IMAGE)
    choice = "channels_first" if channels_first else "channels_last"
    assert_twins(TorchReadText(channels_first), ReadText(), x, flatten_order={"Dense_0": choice})


def test_the_user_gives_the_indices() -> None:
    assert_twins(
        torch.nn.Sequential(PickFeatures([2, 0, 1]), torch.nn.Linear(3, 2)),
        FlaxOnly(lambda x: x, 2),
        example(4, 3),
        flatten_order={"Dense_0": np.argsort([2, 0, 1])},
    )


class PickFeatures(torch.nn.Module):
    """Takes features in another order."""

    def __init__(self, index: list[int]) -> None:
        super().__init__()
        self.index = index

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, self.index]


@pytest.mark.parametrize(
    ("choice", "text"),
    [
        ({"Dense_1": "channels_last"}, "flatten_order: the model has no layer 'Dense_1'; nearest: 'Dense_0'"),
        ({"Dense_0": "rows"}, "'rows' is neither 'channels_first', 'channels_last' nor a list of indices"),
        ({"Dense_0": "channels_first"}, "cannot be followed here; give PyTorch's index of each of its 3 features"),
        ({"Dense_0": [0, 1]}, "Dense_0 reads 3 features: the indices must be a permutation of 0 to 2"),
        ({"Dense_0": [0, 1, 1]}, "Dense_0 reads 3 features: the indices must be a permutation of 0 to 2"),
    ],
)
def test_a_choice_that_means_nothing_is_refused(choice: Any, text: str) -> None:
    state = torch.nn.Sequential(torch.nn.Linear(3, 2)).state_dict()
    with pytest.raises(ConversionError) as caught:
        converters.from_torch(state, FlaxOnly(lambda x: x, 2), example(4, 3), flatten_order=choice)
    assert text in str(caught.value)


def test_flattened_features_that_are_cut_are_not_guessed() -> None:
    with pytest.raises(ConversionError, match="flattened features are cut in places that PyTorch counts differently"):
        assert_twins(
            TorchOnly(40, lambda x: x.flatten(1)[:, :40]), FlaxOnly(lambda x: flat(x)[:, :40]), example(*IMAGE)
        )


def test_flattened_features_that_are_cut_where_they_were_joined_are_followed() -> None:
    def in_torch(x: torch.Tensor) -> torch.Tensor:
        both = torch.cat([x.flatten(1), (x * 2).flatten(1)], 1)
        return both[:, :90] + both[:, 90:]

    def in_flax(x: Any) -> Any:
        both = jnp.concatenate([flat(x), flat(x * 2)], axis=1)
        return both[:, :90] + both[:, 90:]

    assert_twins(TorchOnly(90, in_torch), FlaxOnly(in_flax), example(*IMAGE))


def test_grouped_channels_in_another_order_are_not_guessed() -> None:
    class Flax(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            b, h, w, c = x.shape
            x = x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, h // 2, w // 2, 4 * c)
            return nn.Conv(6, (1, 1), feature_group_count=2)(x)

    module = torch.nn.Sequential(torch.nn.PixelUnshuffle(2), torch.nn.Conv2d(12, 6, 1, groups=2))
    with pytest.raises(ConversionError, match="its channels are in groups"):
        assert_twins(module, Flax(), example(2, 3, 4, 4))


def test_space_to_depth_is_asked_for_and_then_followed() -> None:
    class Flax(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            b, h, w, c = x.shape
            x = x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, h // 2, w // 2, 4 * c)
            return nn.Conv(6, (1, 1))(x)

    module = torch.nn.Sequential(torch.nn.PixelUnshuffle(2), torch.nn.Conv2d(12, 6, 1))
    with pytest.raises(ConversionError, match="Conv_0 reads features whose order in PyTorch cannot be told"):
        assert_twins(module, Flax(), example(2, 3, 4, 4))
    assert_twins(module, Flax(), example(2, 3, 4, 4), flatten_order={"Conv_0": "channels_first"})
